"""Verdicts: users, back-off, what is remembered, rights."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgelake.identity.passwords import Hash
from edgelake.net.mqtt.acl import AclFile, parse
from edgelake.net.mqtt.logins import BAD_USER_OR_PASSWORD, NOT_AUTHORIZED, RATE_EXCEEDED, Login, Logins
from edgelake.net.mqtt.users import UserFile, put


def login(
    user: str | None = None, password: str = "", *, ip: str = "10.0.0.9", certificate: str | None = None
) -> Login:
    return Login(1, "c", user, password.encode(), ip, "tcp", certificate)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def users(tmp_path: Path) -> UserFile:
    put(tmp_path / "users", "alice", "right")
    return UserFile(tmp_path / "users")


def test_a_failure_costs_time_after_a_few(users: UserFile) -> None:
    clock = Clock()
    logins = Logins(users, AclFile(None), None, clock=clock)
    for _ in range(4):
        assert logins.verdict(login("alice", "wrong")) == BAD_USER_OR_PASSWORD
    assert logins.verdict(login("alice", "right")) == RATE_EXCEEDED
    assert isinstance(logins.verdict(login("alice", "right", ip="10.0.0.10")), tuple)
    clock.now += 1
    verdict = logins.verdict(login("alice", "right"))
    assert isinstance(verdict, tuple)
    assert verdict[0] == "alice"
    logins.close()


def test_a_password_is_hashed_once_in_a_while_and_again_when_it_changed(
    users: UserFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[bytes] = []
    fits = Hash.fits
    monkeypatch.setattr(Hash, "fits", lambda self, password: hashed.append(password) or fits(self, password))
    logins = Logins(users, AclFile(None), None)
    for _ in range(3):
        assert isinstance(logins.verdict(login("alice", "right")), tuple)
    assert hashed == [b"right"]
    put(users.path, "alice", "changed")
    assert logins.verdict(login("alice", "right")) == BAD_USER_OR_PASSWORD
    assert isinstance(logins.verdict(login("alice", "changed")), tuple)
    logins.close()


def test_unknown_names_are_hashed_too(users: UserFile, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []
    monkeypatch.setattr(Hash, "fits", lambda _, password: hashed.append(password) or True)
    logins = Logins(users, AclFile(None), None)
    assert logins.verdict(login("nobody", "x")) == BAD_USER_OR_PASSWORD
    assert hashed == [b"x"]
    logins.close()


@pytest.mark.parametrize(
    ("anonymous", "ip", "has_users", "granted"),
    [
        (None, "127.0.0.1", True, True),
        (None, "10.0.0.9", True, False),
        (None, "10.0.0.9", False, True),
        (True, "10.0.0.9", True, True),
        (False, "127.0.0.1", False, False),
    ],
)
def test_clients_without_a_name(
    users: UserFile, anonymous: bool | None, ip: str, has_users: bool, granted: bool
) -> None:
    logins = Logins(users if has_users else None, AclFile(None), anonymous)
    verdict = logins.verdict(login(ip=ip))
    assert isinstance(verdict, tuple) if granted else verdict == NOT_AUTHORIZED
    logins.close()


def test_a_verified_certificate_is_a_user(users: UserFile) -> None:
    logins = Logins(users, AclFile(None), False, has_authority=True)
    verdict = logins.verdict(login(certificate="pump 7"))
    assert isinstance(verdict, tuple)
    assert verdict[0] == "pump 7"
    logins.close()


def test_the_file_of_rights_is_that_of_mosquitto() -> None:
    text = """
# for clients without a name
topic read public/#
user alice
topic plant/+/state
topic deny plant/x/state
client c 1
topic write jobs
pattern readwrite own/%u/%c/#
"""
    assert parse(text, Path("acl")) == {
        ("user", ""): [("public/#", "read")],
        ("user", "alice"): [("plant/+/state", "readwrite"), ("plant/x/state", "deny")],
        ("client", "c 1"): [("jobs", "write")],
        ("pattern", ""): [("own/%u/%c/#", "readwrite")],
    }
