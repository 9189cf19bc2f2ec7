"""``blockchain get`` over the vectors (spec: metadata, section 7)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgelake.errors import EdgeLakeError
from edgelake.metadata.bring import Answer, Bring
from edgelake.metadata.ids import id_of
from edgelake.metadata.image import Image
from edgelake.metadata.select import Select

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
GET = json.loads((VECTORS / "blockchain-get.json").read_text())
BRING = json.loads((VECTORS / "bring.json").read_text())["cases"]
IMAGE = Image.of(GET["policies"])


@pytest.mark.parametrize("case", GET["cases"], ids=lambda c: c["id"])
def test_blockchain_get(case: dict[str, Any]) -> None:
    expect = case["expect"]
    if "error" in expect:
        with pytest.raises(EdgeLakeError) as failed:
            Select.parse(case["command"])
        assert failed.value.text == expect["error"]
        return
    answer = Select.parse(case["command"]).run(IMAGE)
    if "policies" in expect:
        assert [id_of(p) for p in answer.data] == expect["policies"]
    if "objects" in expect:
        assert [json.dumps(o) for o in answer.data] == [json.dumps(o) for o in expect["objects"]]
    if "json" in expect:
        assert json.loads(answer.text) == expect["json"]
        assert answer.data == expect["json"]
    if "table" in expect:
        assert answer.table is not None
        assert [list(answer.table.titles), *map(list, answer.table.rows)] == expect["table"]
    elif "text" in expect:
        assert answer.text == expect["text"]


def run_bring(case: dict[str, Any]) -> Answer:
    dot = "" if case["bring"].startswith(".") else " "
    roots = case["json"] if isinstance(case["json"], list) else [case["json"]]
    return Bring.parse("bring" + dot + case["bring"]).run(roots)


@pytest.mark.parametrize("case", BRING, ids=lambda c: c["id"])
def test_bring_text(case: dict[str, Any]) -> None:
    if isinstance(case["expect"], dict):
        with pytest.raises(EdgeLakeError) as failed:
            run_bring(case)
        assert failed.value.text == case["expect"]["error"]
    else:
        assert run_bring(case).text == case["expect"]
