"""Who a request comes from."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from edgelake.identity.gate import Gate
from edgelake.identity.identities import Identities
from edgelake.net.rest.callers import Callers


def test_a_resolver_that_does_not_answer_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, answers, learnt = threading.Event(), threading.Event(), threading.Event()

    def resolver(name: bytes) -> tuple[str, list[str], list[str]]:
        asked.set()
        answers.wait(20)
        return "Gateway-7.plant.example", ["gw"], []

    class Seen(Callers):
        def _learn_full_names(self) -> None:
            super()._learn_full_names()
            learnt.set()

    monkeypatch.setattr(socket, "gethostbyaddr", resolver)
    callers = Seen(Gate(Identities(lambda: tmp_path / "users.json")), ["node.example"])
    assert asked.wait(20)
    known = set(callers._own)
    assert {"localhost", "node.example", socket.gethostname().lower()} <= known
    assert "gateway-7.plant.example" not in known
    answers.set()
    assert learnt.wait(20)
    assert {"gateway-7.plant.example", "gw"} <= callers._own
