"""Inserting, deleting and keeping policies (spec: metadata, sections 4, 6 and 9)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from edgelake.errors import EdgeLakeError
from edgelake.metadata import ledger
from edgelake.metadata.ids import body_of, id_of
from edgelake.metadata.image import Image
from edgelake.metadata.ledger import LedgerFile
from edgelake.metadata.policies import Policies
from edgelake.metadata.select import Select

CLUSTER = {"cluster": {"company": "acme", "name": "c1"}}


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def operator(cluster: str, **changes: Any) -> dict[str, Any]:
    body = {"name": "op", "company": "acme", "ip": "10.0.0.1", "port": 32148, "cluster": cluster}
    return {"operator": body | changes}


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    return Policies(tmp_path / "blockchain" / "blockchain.json")


def number_of(failed: pytest.ExceptionInfo[EdgeLakeError]) -> int:
    return failed.value.number


def test_inserted_policy_is_found_and_survives_a_restart(policies: Policies) -> None:
    policy_id = run(policies.insert(CLUSTER))
    assert body_of(policies.get(policy_id) or {"": {}})["ledger"] == "local"
    again = Policies(policies.path)
    assert run(again.load()) == 1
    assert again.get(policy_id) == policies.get(policy_id)
    assert again.version == policies.version == hashlib.md5(policies.path.read_bytes()).hexdigest()


def test_version_is_0_before_a_file_exists(policies: Policies) -> None:
    assert run(policies.load()) == 0
    assert policies.version == "0"


def test_same_policy_twice_is_refused(policies: Policies) -> None:
    run(policies.insert(CLUSTER))
    with pytest.raises(EdgeLakeError) as failed:
        run(policies.insert(CLUSTER))
    assert number_of(failed) == 70


def test_readers_keep_the_image_they_took(policies: Policies) -> None:
    before = policies.image
    run(policies.insert(CLUSTER))
    assert (len(before.policies), len(policies.image.policies)) == (0, 1)


def test_watchers_see_every_change(policies: Policies) -> None:
    seen: list[int] = []
    policies.watch(lambda image: seen.append(len(image.policies)))
    policy_id = run(policies.insert(CLUSTER))
    run(policies.delete(policy_id))
    assert seen == [1, 0]


def test_without_a_network_a_master_alone_fails_beside_local_it_is_a_warning(policies: Policies) -> None:
    with pytest.raises(EdgeLakeError) as failed:
        run(policies.insert(CLUSTER, local=False, masters=["10.0.0.9:32048"]))
    assert number_of(failed) == 21
    assert run(policies.insert(CLUSTER, masters=["10.0.0.9:32048"]))


@pytest.mark.parametrize(
    ("policy", "number"),
    [
        ({"cluster": {"name": "c2"}}, 263),
        ({"cluster": {"company": "acme", "name": "c1", "status": "x", "id": "other"}}, 180),
        ({"cluster": {"company": "acme", "name": "c1", "parent": "nosuch"}}, 118),
        (operator("nosuch"), 222),
        ({"operator": {"name": "o", "company": "a", "ip": "1", "port": "32148", "cluster": "x"}}, 263),
        ({"mapping": {"dbms": "d", "table": "t"}}, 263),
        ({"mapping": {"dbms": "d", "table": "t", "schema": {"a": {"bring": "[a]"}}}}, 263),
        ({"tag": {"dbms": "d", "table": "t", "ns": 1}}, 263),
        ({"member": {"type": "king", "public_key": "k"}}, 263),
        ({"a": {}, "b": {}}, 87),
    ],
)
def test_wrong_policy_is_refused_with_its_number(policies: Policies, policy: dict[str, Any], number: int) -> None:
    run(policies.insert(CLUSTER))
    with pytest.raises(EdgeLakeError) as failed:
        run(policies.insert(policy))
    assert number_of(failed) == number
    assert len(policies.image.policies) == 1


def test_operator_gets_a_member_and_its_address_is_unique(policies: Policies) -> None:
    cluster = run(policies.insert(CLUSTER))
    first = run(policies.insert(operator(cluster)))
    assert 1 <= body_of(policies.get(first) or {"": {}})["member"] <= 255
    for changes, number in (
        ({"name": "op2"}, 149),
        ({"port": 2}, 180),
        ({"name": "op3", "port": 3, "member": body_of(policies.get(first) or {"": {}})["member"]}, 180),
    ):
        with pytest.raises(EdgeLakeError) as failed:
            run(policies.insert(operator(cluster, **changes)))
        assert number_of(failed) == number


def test_deleted_policy_stays_deleted_and_may_be_made_again(policies: Policies) -> None:
    policy_id = run(policies.insert(CLUSTER))
    run(policies.delete(policy_id))
    again = Policies(policies.path)
    assert run(again.load()) == 0
    with pytest.raises(EdgeLakeError) as failed:
        run(again.delete(policy_id))
    assert number_of(failed) == 113
    assert run(again.insert(CLUSTER)) == policy_id
    assert run(Policies(policies.path).load()) == 1


def test_unreadable_lines_are_reported_and_not_fatal(policies: Policies) -> None:
    run(policies.insert(CLUSTER))
    with policies.path.open("ab") as file:
        file.write(b'\n{"x": 1}\n{"t": {"name": "no id"}}\nrubbish \xff\n' + policies.path.read_bytes())
    assert run(policies.load()) == 1
    assert len(policies.problems) == 4


@pytest.mark.parametrize(
    "value",
    [
        b'"tab\there"',
        b'"nul\0"',
        rb'"lone \ud800"',
        rb'"pair \ud83d\ude00"',
        "é ☃".encode().join((b'"', b'"')),
        b"-0",
        b"-0.0",
        b"1E400",
        b"1.7976931348623159e308",
        b"0.1e-400",
        b"3.141592653589793238462643383279",
        b"18446744073709551616",
        b"9" * 4000,
        b'{"x": 1, "y": 2, "x": 3}',
        b"[" * 500 + b"]" * 500,
    ],
)
def test_values_of_a_line_are_those_that_python_reads(value: bytes) -> None:
    line = b'{"config": {"id": "1", "value": %b}}' % value
    expected = json.loads(line, strict=False)
    contents = ledger.parse(b"\n".join([b" \t", line + b"\r", b""]))
    assert contents.problems == []
    assert repr(contents.policies) == repr([expected])
    assert [kept for _, kept in contents.entries.values()] == [line]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"a": {"id": "1", "x": NaN}}', "NaN is no JSON value"),
        (b'{"a": {"id": "1", "x": 01}}', "not JSON"),
        (b'{"a": {"id": "1"}} {}', "Extra data"),
        (b'{"a": {"id": "1"}, "b": {}}', "one root key"),
        (b"{}", "one root key"),
        (b'["a"]', "one root key"),
        (b'{"a": [1]}', "one root key"),
        (b'{"a": {"x": 1}}', "without id"),
        (b'{"a": {"id": null}}', "without id"),
        (b'{"a": {"id": "0"}}', "is there already"),
        (b'{"a": {"id": 0}}', "is there already"),
        (b'{"a": {"id": "\xed\xa0\x80"}}', "can't decode"),
        (b'{"a": {"id": "1", "x": ' + b"[" * 100_000, "not JSON"),
    ],
)
def test_a_line_that_is_no_policy_is_left_out_with_the_reason(line: bytes, problem: str) -> None:
    contents = ledger.parse(b'{"a": {"id": "0"}}\n' + line)
    assert list(contents.entries) == ["0"]
    assert len(contents.problems) == 1
    assert contents.problems[0].startswith("line 2: ")
    assert problem in contents.problems[0]


def test_line_torn_by_a_crash_does_not_spoil_the_next_one(policies: Policies) -> None:
    run(policies.insert(CLUSTER))
    with policies.path.open("ab") as file:
        file.write(b'{"half": {"na')
    run(policies.load())
    run(policies.insert({"config": {"name": "x"}}))
    again = Policies(policies.path)
    assert run(again.load()) == 2
    assert len(again.problems) == 1


def test_rotation_keeps_the_previous_copy_and_both_are_whole(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path / "blockchain.json")
    one = ledger.lines([{"a": {"id": "1"}}])
    two = ledger.lines([{"a": {"id": "2"}}])
    file.replace(one)
    file.replace(two)
    assert file.path.read_bytes() == two
    assert file.path.with_suffix(".old").read_bytes() == one
    assert sorted(p.name for p in tmp_path.iterdir()) == ["blockchain.json", "blockchain.old"]


@pytest.mark.parametrize("data", [b"", b"rubbish\n"])
def test_unreadable_new_copy_is_refused(tmp_path: Path, data: bytes) -> None:
    file = LedgerFile(tmp_path / "blockchain.json")
    file.replace(ledger.lines([{"a": {"id": "1"}}]))
    with pytest.raises(EdgeLakeError):
        file.replace(data)
    assert [id_of(p) for p in file.load().policies] == ["1"]


@pytest.mark.parametrize("step", range(4))
def test_crash_at_any_step_of_the_rotation_leaves_an_active_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    file = LedgerFile(tmp_path / "blockchain.json")
    one, two = (ledger.lines([{"a": {"id": n}}]) for n in "12")
    file.replace(one)
    calls = 0

    def counted(real: Any) -> Any:
        def call(*args: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls > step:
                raise KeyboardInterrupt
            return real(*args)

        return call

    for name in ("fsync", "link", "replace"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(shutil, "copyfile", counted(shutil.copyfile))
    with pytest.raises(KeyboardInterrupt):
        file.replace(two)
    monkeypatch.undo()
    assert file.path.read_bytes() in (one, two)
    assert LedgerFile(file.path).load().problems == []


def test_empty_ledger_is_one_newline() -> None:
    assert hashlib.md5(ledger.lines([])).hexdigest() == "68b329da9893e34099c7d8ad5cb9c940"


def test_anmp_changes_the_image_newest_last_and_not_the_file(policies: Policies) -> None:
    node = {"node": {"id": "n1", "date": "2026-01-01T00:00:00.000000Z", "name": "a", "port": 1}}
    newer = {"anmp": {"n1": {"port": 3}, "id": "x2", "date": "2026-03-01T00:00:00.000000Z"}}
    older = {"anmp": {"n1": {"port": 2, "name": "b"}, "id": "x1", "date": "2026-02-01T00:00:00.000000Z"}}
    run(policies.add([node, newer, older]))
    body = body_of(policies.get("n1") or {"": {}})
    assert (body["port"], body["name"]) == (3, "b")
    assert run(policies.read("blockchain read node bring [*][port]")).text == "1"
    assert policies.select("blockchain get node bring [*][port]").text == "3"


def test_index_and_scan_agree() -> None:
    image = Image.of([{"a": {"id": str(i), "name": f"N{i % 3}", "port": i}} for i in range(9)])
    by_index = Select.parse("a where name = n1").policies(image)
    by_scan = Select.parse("a where [name] == n1").policies(image)
    assert list(by_index) == by_scan
    assert len(by_scan) == 3


def test_two_writers_do_not_lose_a_line(policies: Policies) -> None:
    async def work() -> None:
        await asyncio.gather(*(policies.insert({"config": {"name": f"c{i}"}}) for i in range(20)))

    run(work())
    assert run(Policies(policies.path).load()) == 20


def test_structure_test_names_what_is_wrong(policies: Policies) -> None:
    run(policies.replace_file(ledger.lines([{"operator": {"id": "o", "name": "n"}}, {"config": {"id": "c"}}])))
    found = run(policies.test())
    assert len(found) == 1
    assert "operator o" in found[0]


def test_a_text_without_utf8_form_survives_a_restart(policies: Policies) -> None:
    run(policies.insert({"config": {"name": "a\ud800b", "other": "gr\u00fcn"}}))
    again = Policies(policies.path)
    assert run(again.load()) == 1
    assert body_of(again.image.policies[0])["name"] == "a\ud800b"


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("port = 021", "12"),
        ("port = 21.0", "12"),
        ("[port] == 21", "12"),
        ("name = X", "14"),
        ("name = x and port = 21", "1"),
        ("tags = b", "23"),
        ("[tags] contains b", "23"),
        ("on = true", "3"),
        ("[a][on] == TRUE", "3"),
        ("list[k] = v", "45"),
        ("[list][k] == v", "45"),
        ("not [name] == x", "235"),
        ("[name] == x or [port] == 21", "124"),
        ("([name] == x and [port] == 21) or [tags] == b", "123"),
        ("[*][name] == y", "345"),
        ("name = *", "4"),
        ("deep[a][b] = 1", "5"),
    ],
)
def test_conditions_over_values_of_every_kind(where: str, ids: str) -> None:
    bodies: list[dict[str, Any]] = [
        {"id": "1", "name": "x", "port": 21},
        {"id": "2", "name": "z", "port": 21.0, "tags": ["a", "B"]},
        {"id": "3", "name": "Y", "tags": "b", "on": True, "port": 1},
        {"id": "4", "name": "*", "list": [{"k": "w"}, {"k": "V"}]},
        {"id": "5", "name": "y", "list": [{"k": "v"}], "deep": {"a": [{"b": 1}]}},
    ]
    image = Image.of({"a": body} for body in bodies)
    assert "".join(id_of(p) for p in Select.parse(f"a where {where}").policies(image)) == ids
