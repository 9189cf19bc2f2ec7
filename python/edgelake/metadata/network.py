"""Changes of policies on their way to masters and platforms (spec: metadata, section 9; network protocol, 6.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from edgelake.errors import EdgeLakeError, error
from edgelake.metadata.ids import Policy, id_of, with_ledger
from edgelake.metadata.master import Master
from edgelake.metadata.platforms import Platforms
from edgelake.metadata.policy import wire
from edgelake.peering import NO_ANSWER, UNREACHABLE, Peers

REFUSALS = frozenset({87, 149, 180})
"""Errors with which a master refuses a policy for good."""

SUBMIT_S = 10.0


class Network:
    """Sends policies. Every method raises EdgeLakeError when a change certainly did not arrive.

    Args:
        peers: what sends messages; None before the node can.
        master: the ledger of this node, if it is one.
    """

    def __init__(self, peers: Callable[[], Peers | None], platforms: Platforms, master: Master) -> None:
        self._peers = peers
        self._platforms = platforms
        self._master = master

    @property
    def peers(self) -> Peers:
        """Raises EdgeLakeError (21)."""
        found = self._peers()
        if found is None:
            raise error(21, "this node sends no messages", hint="run tcp server where ...")
        return found

    def is_here(self, master: str) -> bool:
        """Whether this node is that master."""
        peers = self._peers()
        if not self._master.exists or peers is None or not master:
            return False
        return peers.is_own(master)

    async def push(self, master: str, policy: Policy, *, again: bool = False) -> None:
        """Add a policy to a master's ledger. ``again``: it may be there already.

        A master of our kind says whether it took it (raises what it refused with); others say nothing.
        """
        if self.is_here(master):
            await self._master.push(policy, host=master.rpartition(":")[0], ignore=again)
            return
        text = wire(with_ledger(policy, "global"))
        peers = self.peers
        if not peers.is_upgraded(master):
            verb = "push\tignore" if again else "push"  # a TAB stands for a blank inside one word of a message
            await peers.tell(master, f"blockchain {verb} {text}")
            return
        answer = (await peers.ask([master], f"blockchain submit {text}", timeout_s=SUBMIT_S))[0]
        if answer.error:
            raise failure(answer.error, f"{master}: {answer.text}")

    async def drop(self, master: str, policy_id: str) -> bool:
        """Remove a policy from a master's ledger; False when it was not there, as far as the master says so."""
        if self.is_here(master):
            try:
                await self._master.drop([policy_id])
            except EdgeLakeError as problem:
                if problem.number != 101:
                    raise
                return False
            return True
        peers = self.peers
        if not peers.is_upgraded(master):
            await peers.tell(master, f"blockchain drop policy where id = {policy_id}")
            return True
        answer = (await peers.ask([master], f"blockchain withdraw {policy_id}", timeout_s=SUBMIT_S))[0]
        if answer.error not in (0, 101):
            raise failure(answer.error, f"{master}: {answer.text}")
        return answer.error == 0

    async def insert(self, platform: str, policy: Policy) -> None:
        """Add a policy to a contract; one that is there has arrived."""
        try:
            await self._platforms.get(platform).insert(with_ledger(policy, "global"))
        except EdgeLakeError as problem:
            if problem.number != 70:
                raise

    async def delete(self, platform: str, policy_id: str) -> None:
        """Remove a policy from a contract."""
        await self._platforms.get(platform).delete(policy_id)

    async def send(
        self, policy: Policy, masters: Sequence[str], chains: Sequence[str], *, again: bool = False
    ) -> list[EdgeLakeError]:
        """Send a policy to all; what failed."""
        failed = []
        for master in masters:
            failed += await _tried(self.push(master, policy, again=again), f"policy {id_of(policy)} to {master}")
        for chain in chains:
            failed += await _tried(self.insert(chain, policy), f"policy {id_of(policy)} to {chain}")
        return failed

    async def send_drop(self, policy_id: str, masters: Sequence[str], chains: Sequence[str]) -> list[EdgeLakeError]:
        """Send the removal of a policy to all; what failed."""
        failed = []
        for master in masters:
            failed += await _tried(self.drop(master, policy_id), f"removal of {policy_id} to {master}")
        for chain in chains:
            failed += await _tried(self.delete(chain, policy_id), f"removal of {policy_id} to {chain}")
        return failed


def failure(number: int, text: str) -> EdgeLakeError:
    """What a peer answered, as an error of ours. Unknown numbers are failures of the ledger."""
    if number in (NO_ANSWER, UNREACHABLE):
        return error(208, text)
    try:
        return error(number, text)
    except KeyError:
        return error(30, text)


async def _tried(sending: Awaitable[object], what: str) -> list[EdgeLakeError]:
    try:
        await sending
    except EdgeLakeError as problem:
        problem.detail = f"{what}: {problem.detail or problem.text}"
        return [problem]
    return []
