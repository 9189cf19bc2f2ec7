"""Pages of other sites: who may read, by ``run rest server ... cors``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgelake.errors import CommandError
from edgelake.net.rest.cors import Cors
from tests.net.helpers import Site

PANEL = "https://panel.example"
COMMAND = {"User-Agent": "AnyLog/1.23", "command": "get status"}


def test_everybody_may_read_by_default(site: Site) -> None:
    status, headers, _ = site.request("GET", {**COMMAND, "Origin": "https://any.example"})
    assert (status, headers["access-control-allow-origin"]) == (200, "*")


def test_only_listed_origins_are_named(make_site: Callable[..., Site]) -> None:
    site = make_site(cors=Cors.parse(f"({PANEL}, http://b:3000)"))
    for origin, allowed in ((PANEL, PANEL), ("http://b:3000", "http://b:3000"), ("https://other.example", None)):
        for method, sent in (("GET", COMMAND), ("OPTIONS", {"Access-Control-Request-Headers": "command"})):
            _, headers, _ = site.request(method, {**sent, "Origin": origin})
            assert headers.get("access-control-allow-origin") == allowed
            assert headers["vary"].startswith("Origin")
            assert ("access-control-allow-methods" in headers) == (method == "OPTIONS" and allowed is not None)
    assert site.command("get status")[1].get("access-control-allow-origin") is None


def test_readings_of_a_page_are_answered_alike(make_site: Callable[..., Site]) -> None:
    site = make_site(cors=Cors.parse(PANEL))
    assert site.put(b'{"v": 1}', Origin=PANEL)[1]["access-control-allow-origin"] == PANEL
    assert "access-control-allow-origin" not in site.put(b'{"v": 1}', Origin="https://other.example")[1]
    assert len(site.node.rows) == 2


def test_nobody(make_site: Callable[..., Site]) -> None:
    site = make_site(cors=Cors.parse("none"))
    assert "access-control-allow-origin" not in site.request("GET", {**COMMAND, "Origin": PANEL})[1]


@pytest.mark.parametrize(
    "text",
    ["", "()", "panel.example", "https://panel.example/", "https://u@panel.example", "ftp://a", "https://", "https://a:0x",
     "https://a\r\nx: y", "*, https://a.example", ", ".join(f"https://h{n}.example" for n in range(101))],
)  # fmt: skip
def test_what_is_no_list_of_origins(text: str) -> None:
    with pytest.raises(CommandError):
        Cors.parse(text)


def test_as_it_is_shown() -> None:
    assert [str(Cors.parse(text)) for text in ("*", "none", "(http://b, HTTPS://a.example)")] == [
        "*",
        "none",
        "http://b, https://a.example",
    ]
