"""Exit code 0 when the node in this container answers at /healthz of its REST server."""

import os
import ssl
import sys
import urllib.request


def main() -> int:
    kinds = {"master": 32049, "operator": 32149, "publisher": 32249, "query": 32349}
    kind = os.environ.get("NODE_TYPE", "").partition("-")[0].lower()
    port = os.environ.get("ANYLOG_REST_PORT") or kinds.get(kind, 32549)
    own = ssl.create_default_context()
    own.check_hostname = False
    own.verify_mode = ssl.CERT_NONE  # the node asks itself; its certificate names the address that others use
    host = os.environ.get("OVERLAY_IP") or "127.0.0.1"
    for scheme in ("http", "https"):
        try:
            with urllib.request.urlopen(f"{scheme}://{host}:{port}/healthz", timeout=3, context=own) as answer:
                return 0 if answer.status == 200 else 1
        except OSError:
            continue
    return 1


if __name__ == "__main__":
    sys.exit(main())
