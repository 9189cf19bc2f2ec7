"""Topics as a tree of ``uns`` policies, published as messages come (spec: brokers and mapping, section 10).

A topic ``site/hall/door`` has three levels; each is a namespace (``site``, ``site/hall``, ``site/hall/door``) with one
policy, below that of its parent. Ids follow from the namespace, so that nodes that publish the same at once agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from msgspec import Struct

from edgelake import _rust
from edgelake.errors import EdgeLakeError
from edgelake.metadata.ids import id_of, make_id
from edgelake.metadata.policies import Policies

log = logging.getLogger(__name__)

UNS = "uns"
SEPARATOR = "/"
RETRY_S = 5.0
MAX_RETRY_S = 300.0

_ARRIVED = 70
"""Error that says: another has published it in the meantime."""


def levels_of(topic: str) -> list[str]:
    """Levels of a topic; those without a name are left out."""
    return [level.strip() for level in topic.split(SEPARATOR) if _rust.sanitize_name(level.strip())]


class Topic(Struct, frozen=True):
    """A topic that has brought rows, and where its policies are sent beside the local file."""

    dbms: str
    name: str
    masters: Sequence[str] = ()
    chains: Sequence[str] = ()


class Namespaces:
    """Publishes what is missing, parents first, and tries again what failed.

    Args:
        source_node: who this node is.
    """

    def __init__(self, policies: Policies, source_node: Callable[[], str]) -> None:
        self._policies = policies
        self._source_node = source_node
        self._waiting: dict[Topic, None] = {}
        self._wake = asyncio.Event()
        self._told = ""
        self._task: asyncio.Task[None] | None = None

    def seen(self, topic: Topic) -> None:
        """A topic has brought its first row."""
        self._waiting[topic] = None
        self._wake.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="uns policies")

    async def stop(self) -> None:
        """End; topics that are not published yet are new again when the node is. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        pause_s = RETRY_S
        while True:
            self._wake.clear()
            for topic in list(self._waiting):
                try:
                    await self._publish(topic)
                except EdgeLakeError as problem:
                    self._report(topic, str(problem))
                except Exception as fault:  # the others go on, and it is tried again
                    log.exception("uns policies of %s", topic.name)
                    self._report(topic, f"{type(fault).__name__}: {fault}")
                else:
                    del self._waiting[topic]
                    pause_s = RETRY_S
            if not self._waiting:
                self._told = ""
            try:
                async with asyncio.timeout(pause_s if self._waiting else None):
                    await self._wake.wait()
            except TimeoutError:
                pause_s = min(pause_s * 2, MAX_RETRY_S)

    def _report(self, topic: Topic, problem: str) -> None:
        if self._told != problem:
            self._told = problem
            log.error("the topic '%s' has no uns policy yet: %s", topic.name, problem)

    async def _publish(self, topic: Topic) -> None:
        """The policies of a topic's levels that are not there. Raises EdgeLakeError."""
        parent, levels = "", levels_of(topic.name)
        for end in range(1, len(levels) + 1):
            namespace = SEPARATOR.join(levels[:end])
            known = self._policies.find(UNS, namespace=namespace)
            parent = id_of(known[0]) if known else await self._insert(topic, namespace, levels[end - 1], parent)

    async def _insert(self, topic: Topic, namespace: str, level: str, parent: str) -> str:
        table = _rust.sanitize_name(level)
        # Topics with the same last level share a table, and its policies must differ in their names.
        is_taken = self._policies.find(UNS, dbms=topic.dbms, table=table, name=level)
        body = {
            "name": namespace if is_taken else level,
            "namespace": namespace,
            **({"parent": parent} if parent else {}),
            "dbms": topic.dbms,
            "table": table,
            "source_node": self._source_node(),
            "id": make_id({UNS: {"namespace": namespace}}),
        }
        try:
            return await self._policies.insert({UNS: body}, masters=topic.masters, chains=topic.chains)
        except EdgeLakeError as problem:
            if problem.number != _ARRIVED:
                raise
            return str(body["id"])
