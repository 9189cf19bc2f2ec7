"""A member of another edition in the cluster: a peer made by hand that knows blocks and the messages of section 6.5."""

from __future__ import annotations

import gzip
from pathlib import Path

from edgelake.bench.processes import free_port
from tests.net.peer.clusters import Cluster
from tests.net.peer.nodes import until
from tests.net.peer.raw import RawPeer, Said, block, send

DATE = "261123170355"


class Member(RawPeer):
    """Answers ``get status``, and keeps what else comes."""

    async def expect(self, begin: str) -> Said:
        """The next message that begins so; others are passed over."""
        while True:
            said = await self.next()
            if said.command.startswith("get status"):
                reply = block("print", self.address, data=b"node running", job=said.job, info=4, generic=1)
                await send(said.source, reply)
            elif said.command.startswith(begin):
                return said


async def test_files_go_to_and_come_from_a_member_of_another_edition(tmp_path: Path) -> None:
    async with Member() as other:
        ports = [free_port(), int(other.address.rpartition(":")[2])]
        members = Cluster(tmp_path, ports)
        try:
            node = await members.start(0)
            at = f"127.0.0.1:{ports[0]}"

            # The consumer asks which files there are, and for them.
            asked = (await other.expect("event get_recent_tsd_info tsd_2 ")).command.split(" ")
            assert asked[4] == "0"
            assert asked[3][10] == "\t"
            first, last = "2026-11-23\t17:03:40.053710", "2026-11-23\t17:07:55.111765"
            await send(at, block(f"event recent_tsd_info tsd_2 {first} 0 {last} 2 *tsd_1~1*", other.address))
            wanted = await other.expect("file deliver tsd_2")
            assert wanted.data == b"1-3"
            name = f"plant.t.0.5d41402abc4b2a76b9719d911017c592.0.2.1.{DATE}.json"
            await send(at, block(f"file write {name}", other.address, data=b'{"v": 5}\n', info=0, generic=1))
            gone = f"plant.t.0.plant.t.{DATE}.0.2.2.{DATE}.json"  # its hash of a file that was not complete
            await send(at, block(f"event missing_archived_file tsd_2 {gone}", other.address))
            await members.hold([5])

            async def is_complete() -> bool:
                return bool((await members.data(0, "get consumer"))["is_complete"])

            await until(is_complete)
            details = (await members.data(0, "get tsd details where table = tsd_2"))["tsd_2"]
            assert [(one["file_id"], one["rows"], one["status1"]) for one in details] == [(2, 0, "01"), (1, 1, "")]
            (state,) = (await members.data(0, "get consumer"))["members"]
            assert state["safe_ids"] == {"tsd_1": 1}

            # The distributor sends what this node takes in.
            await node.ingest("plant", "t", [{"v": 6}])
            pushed = await other.expect("file write plant.t.")
            assert pushed.generic == 1
            assert pushed.command.endswith(".json.gz")
            assert pushed.command.split(".")[5:7] == ["1", "1"]
            assert gzip.decompress(pushed.data) == b'{"v": 6}\n'
            await members.quiet()

            # It asks in its turn.
            await send(at, block("event get_recent_tsd_info tsd_1 2026-01-01\t00:00:00 0", other.address))
            told = (await other.expect("event recent_tsd_info")).command.split(" ")
            assert (told[2], told[4], told[6], told[7]) == ("tsd_1", "0", "1", "*tsd_2~2*")
            await send(at, block("file deliver tsd_1", other.address, data=b"1,9"))
            given = await other.expect("file write plant.t.")
            assert (given.command, given.data) == (pushed.command, pushed.data)
            missing = await other.expect("event missing_archived_file tsd_1 ")
            assert missing.command.split(".")[5:7] == ["1", "9"]
        finally:
            await members.stop(0)
