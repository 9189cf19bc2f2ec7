"""The file of rights, in the form that mosquitto has.

``topic [read|write|readwrite|deny] <filter>`` belongs to the ``user <name>`` or ``client <id>`` line before it, and
before the first of them to clients without a name. ``pattern ...`` belongs to all; ``%u`` and ``%c`` in it stand for
the user and the client id. What is not named is denied.
"""

from __future__ import annotations

from pathlib import Path

from edgelake._rust import MqttAcl
from edgelake.errors import ServiceError

Rule = tuple[str, str]
ACCESS = ("read", "write", "readwrite", "deny")
_KEPT = 1000


class AclFile:
    """Rights of a file; it is read again when it has changed. Without a file everything is allowed."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._state: tuple[int, int, int] | None = None
        self._sections: dict[tuple[str, str], list[Rule]] = {}
        self._made: dict[tuple[str, str], MqttAcl] = {}
        self._open = MqttAcl()

    def rights(self, user: str | None, client_id: str) -> MqttAcl:
        """Rights of a client. Raises ServiceError for a file that cannot be read."""
        if self.path is None:
            return self._open
        self._read(self.path)
        own = client_id if ("client", client_id) in self._sections else ""
        key = (user or "", own)
        made = self._made.get(key)
        if made is None:
            rules = list(self._sections.get(("user", user or ""), ()))
            if own:
                rules += self._sections[("client", own)]
            rules += self._sections.get(("pattern", ""), ())
            rules.sort(key=lambda rule: rule[1] != "deny")  # denied is denied, wherever it stands
            if len(self._made) >= _KEPT:
                self._made.clear()
            made = self._made[key] = MqttAcl(rules)
        return made

    def _read(self, path: Path) -> None:
        try:
            found = path.stat()
            state = (found.st_mtime_ns, found.st_size, found.st_ino)
            if state != self._state:
                self._sections = parse(path.read_text(), path)
                self._made = {}
                self._state = state
        except (OSError, UnicodeDecodeError) as problem:
            raise ServiceError(f"acl: cannot read {path}: {problem}") from problem


def parse(text: str, path: Path) -> dict[tuple[str, str], list[Rule]]:
    """Rules by section: (user, name), (client, id) or (pattern, ""). Raises ServiceError with the bad line."""
    sections: dict[tuple[str, str], list[Rule]] = {}
    section = ("user", "")
    for number, line in enumerate(text.splitlines(), 1):
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if not word or word.startswith("#"):
            continue
        if word in ("user", "client") and rest:
            section = (word, rest)
            sections.setdefault(section, [])
        elif word in ("topic", "pattern") and rest:
            access, _, topic = rest.partition(" ")
            if access not in ACCESS or not topic.strip():
                access, topic = "readwrite", rest
            sections.setdefault(section if word == "topic" else ("pattern", ""), []).append((topic.strip(), access))
        else:
            hint = "user <name>, client <id>, topic [read|write|readwrite|deny] <filter>, pattern [..] <filter>"
            raise ServiceError(f"acl: {path}, line {number}: '{line.strip()}'", hint=hint)
    return sections
