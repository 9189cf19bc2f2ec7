"""Who may do what: without names, with them, and when things go wrong."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest

from edgelake.errors import CommandError, CredentialsError, ServiceError
from edgelake.identity.gate import Gate, Origin
from edgelake.identity.identities import Identities
from edgelake.identity.passwords import Hash
from edgelake.model import CommandClass

D, M, F, A, E = CommandClass


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def identities(tmp_path: Path, clock: Clock) -> Identities:
    return Identities(lambda: tmp_path / "id" / "users.json", lambda: int(clock.now_s * 1e6))


@pytest.fixture
def gate(identities: Identities, clock: Clock) -> Gate:
    return Gate(identities, clock)


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def at(authorization: str = "", *, ip: str = "10.0.0.9", is_foreign: bool = False) -> Origin:
    return Origin(f"{ip}:5000", ip, ip == "127.0.0.1", is_foreign, authorization)


def classes(gate: Gate, origin: Origin) -> set[CommandClass]:
    asyncio.run(gate.admit(origin))
    return set(gate.caller(origin).classes)


def test_without_identities_the_address_decides(gate: Gate) -> None:
    assert classes(gate, at(ip="127.0.0.1")) == {D, M, F, A}
    assert classes(gate, at()) == {D, M}
    assert classes(gate, at(is_foreign=True, ip="127.0.0.1")) == {D}
    assert classes(gate, at(basic("any", "body"))) == {D, M}  # programs that send a password anyhow go on


def test_the_first_identity_closes_the_node_for_others_without_a_name(gate: Gate, identities: Identities) -> None:
    identities.add_token("grafana", "user", None)
    for entry in ("rest", "peer", "mqtt"):
        assert gate.anonymous(entry, False) == frozenset()
    with pytest.raises(CredentialsError):
        gate.caller(at())
    assert classes(gate, at(ip="127.0.0.1")) == {D, M, F, A}
    identities.permit("anonymous@peer", frozenset({D, M}))
    assert gate.anonymous("peer", False) == {D, M}
    assert gate.anonymous("rest", False) == frozenset()
    identities.permit("anonymous", frozenset({D}))
    assert (gate.anonymous("rest", False), gate.anonymous("peer", False)) == ({D}, {D, M})


def test_users_and_tokens_have_the_classes_of_their_type_or_those_permitted(gate: Gate, identities: Identities) -> None:
    identities.add_user("eva", "secret", "user", None)
    identities.add_user("ops", "secret2", "admin", None)
    token = identities.add_token("deploy", "admin", None)
    assert classes(gate, at(basic("eva", "secret"))) == {D, M, F}
    assert classes(gate, at(basic("ops", "secret2"))) == {D, M, F, A}
    assert classes(gate, at(f"Bearer {token}")) == {D, M, F, A}
    assert gate.caller(at(f"bearer {token}")).user == "deploy"
    identities.permit("deploy", frozenset({D}))
    assert classes(gate, at(f"Bearer {token}")) == {D}
    identities.permit("deploy", None)
    assert classes(gate, at(f"Bearer {token}")) == {D, M, F, A}
    # A browser adds a password that it knows to what another site's page asks for.
    assert classes(gate, at(basic("ops", "secret2"), is_foreign=True)) == {D}


@pytest.mark.parametrize(
    "authorization",
    ["Basic", "Basic %%%", "Basic " + base64.b64encode(b"no colon").decode(), "Digest x=y", "Bearer elt_wrong",
     basic("nobody", "x"), basic("eva", "wrong"), basic("", ""), "Basic " + "A" * 10_000],
)  # fmt: skip
def test_wrong_credentials_are_refused_even_from_this_machine(
    gate: Gate, identities: Identities, authorization: str
) -> None:
    identities.add_user("eva", "secret", "user", None)
    with pytest.raises(CredentialsError):
        classes(gate, at(authorization, ip="127.0.0.1"))


def test_a_password_is_looked_at_once_in_a_while(
    gate: Gate, identities: Identities, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    identities.add_user("eva", "secret", "user", None)
    looked: list[bytes] = []
    fits = Hash.fits
    monkeypatch.setattr(Hash, "fits", lambda self, password: looked.append(password) or fits(self, password))
    for _ in range(5):
        classes(gate, at(basic("eva", "secret")))
    assert looked == [b"secret"]
    clock.now_s += 301
    classes(gate, at(basic("eva", "secret")))
    assert looked == [b"secret"] * 2


def test_what_is_changed_holds_at_once(gate: Gate, identities: Identities, clock: Clock) -> None:
    identities.add_user("eva", "secret", "user", 60)
    token = identities.add_token("t", "user", 60)
    assert classes(gate, at(basic("eva", "secret"))) == {D, M, F}
    identities.change_password("eva", "new")
    with pytest.raises(CredentialsError):
        classes(gate, at(basic("eva", "secret")))
    assert classes(gate, at(basic("eva", "new"))) == {D, M, F}
    clock.now_s += 61
    with pytest.raises(CredentialsError):
        classes(gate, at(basic("eva", "new")))
    with pytest.raises(CredentialsError, match="expired"):
        gate.caller(at(f"Bearer {token}"))
    identities.remove_token("t")
    with pytest.raises(CredentialsError, match="not those"):
        gate.caller(at(f"Bearer {token}"))


def test_guessing_costs_time_and_only_where_it_comes_from(gate: Gate, identities: Identities, clock: Clock) -> None:
    identities.add_user("eva", "secret", "user", None)
    for _ in range(4):
        with pytest.raises(CredentialsError):
            classes(gate, at(basic("eva", "wrong")))
    with pytest.raises(CredentialsError, match="too many") as refused:
        classes(gate, at(basic("eva", "secret")))
    assert refused.value.http_status == 429
    assert 0 < refused.value.retry_s <= 0.5
    assert classes(gate, at(basic("eva", "secret"), ip="10.0.0.10"))
    clock.now_s += 1
    assert classes(gate, at(basic("eva", "secret")))


def test_authentication_needs_an_admin_and_then_asks_this_machine_too(gate: Gate, identities: Identities) -> None:
    identities.add_user("eva", "secret", "user", None)
    with pytest.raises(CommandError, match="admin"):
        identities.enforce(True)
    identities.add_user("ops", "secret", "admin", None)
    identities.enforce(True)
    with pytest.raises(CredentialsError):
        gate.caller(at(ip="127.0.0.1"))
    assert classes(gate, at(basic("ops", "secret"), ip="127.0.0.1")) == {D, M, F, A}


def test_what_cannot_be_is_refused(identities: Identities) -> None:
    identities.add_user("eva", "secret", "user", None)
    for name in ("eva", "anonymous", "", "a b", "a:b", "a@rest", "x" * 129, "a\nb"):
        with pytest.raises(CommandError):
            identities.add_user(name, "secret", "user", None)
    for password in ("", "x" * 1025):
        with pytest.raises(CommandError):
            identities.add_user("new", password, "user", None)
    with pytest.raises(CommandError):
        identities.permit("anonymous", frozenset({A}))
    for refused in (
        lambda: identities.permit("nobody", frozenset()),
        lambda: identities.remove_user("nobody"),
        lambda: identities.remove_token("eva"),
        lambda: identities.change_password("nobody", "x"),
    ):
        with pytest.raises(CommandError, match="there is no"):
            refused()


def test_the_file_is_private_has_no_secret_and_survives(identities: Identities, tmp_path: Path) -> None:
    identities.add_user("eva", "secret-of-eva", "user", None)
    token = identities.add_token("t", "admin", None)
    identities.enforce(True)
    path = tmp_path / "id" / "users.json"
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert "secret-of-eva" not in text
    assert token not in text
    again = Identities(lambda: path)
    again.load()
    assert again.content == identities.content
    assert again.token(token) is not None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"users": {"eva": {"hash": "md5$x"}}}', '{"enforced": "yes"}'])
def test_a_damaged_file_does_not_open_the_node(identities: Identities, tmp_path: Path, text: str) -> None:
    (tmp_path / "id").mkdir()
    (tmp_path / "id" / "users.json").write_text(text)
    with pytest.raises(ServiceError, match="damaged"):
        identities.load()


def test_a_change_that_cannot_be_written_does_not_hold(identities: Identities, tmp_path: Path) -> None:
    identities.add_user("eva", "secret", "user", None)
    path = tmp_path / "id" / "users.json"
    before = json.loads(path.read_text())
    (tmp_path / "id" / "users.json.new").mkdir()  # stands where the new content is prepared
    with pytest.raises(ServiceError, match="cannot write"):
        identities.remove_user("eva")
    assert identities.user("eva") is not None
    assert json.loads(path.read_text()) == before
