"""Lines of syslog on the broker's port: rows that queries find."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from edgelake.bench.processes import free_port
from tests.mqtt.brokers import accepts
from tests.system.program import STANDALONE, Program


def test_lines_of_syslog_become_rows(tmp_path: Path) -> None:
    port = free_port()
    script = STANDALONE + (
        "set msg rule own if ip = 127.0.0.1 then dbms = plant and table = syslog and syslog = true and extend = ip\n"
        'set msg rule app if header = "app: " and ip = 127.0.0.1 then dbms = plant and table = app\n'
        f"run message broker where external_ip = 127.0.0.1 and external_port = {port} and bind = true\n"
    )
    with Program(tmp_path, script) as node:
        node.until(lambda: accepts(port))
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sender:
            sender.sendall(
                b'<34>Oct 11 22:14:15 web su[7]: it\'s "odd"\r\n44 <13>Oct 11 22:14:16 db cron: two\nlines of it'
            )
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sender:
            sender.sendall(b"app: started\napp: sto")
            sender.sendall(b"pped\n")
        counters = "get mqtt statistics"
        node.until(lambda: node.data(counters)["lines"] == 4)
        node.post("flush buffers")
        assert (node.count("syslog"), node.count("app")) == (2, 2)
        columns = "hostname, tag, message, source_ip"
        text = f"sql plant format = json and stat = false select {columns} from syslog order by hostname"
        rows = json.loads(node.get(text))["Query"]
        assert rows == [
            {"hostname": "db", "tag": "cron", "message": "two\nlines of it", "source_ip": "127.0.0.1"},
            {"hostname": "web", "tag": "su[7]", "message": 'it\'s "odd"', "source_ip": "127.0.0.1"},
        ]
        with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
            node.post("reset msg rule own")
            client.sendall(b"<34>Oct 11 22:14:17 web su: nobody wants it\n")
            while client.recv(100):
                pass
        assert node.data(counters)["line_connections"] == 2
