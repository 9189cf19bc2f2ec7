"""Messages of a fetch in blocks of values, as aiokafka's native parser gives them.

aiokafka makes of each message an object of eleven fields, in Python, which is most of its time; and objects by the
ten thousand keep the garbage collector busy. The node needs the values, and where a block ends. So aiokafka's fetcher
is given blocks in the place of its single messages. That reaches into parts of it that are its own: pyproject.toml
bounds its version, and every test of a consumer shows that it fits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain, dropwhile, islice
from operator import attrgetter
from typing import Any, Final, NamedTuple

import aiokafka
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import CorruptRecordException

BLOCK_MESSAGES: Final = 1000

_value_of: Final = attrgetter("value")


class Block(NamedTuple):
    """Values in the order of their partition, None where a message has none, and the offset behind the last."""

    values: list[bytes | None]
    next_offset: int


def read_in_blocks(consumer: aiokafka.AIOKafkaConsumer) -> None:
    """Let ``getmany`` give lists of blocks; its ``max_records`` counts them then.

    Args:
        consumer: started, without an assignment yet.
    """
    consumer._fetcher._records = _Fetched()


class _Fetched(OrderedDict[Any, Any]):
    """What was fetched and is not handed out yet, by partition."""

    def __setitem__(self, tp: Any, result: Any) -> None:
        if isinstance(result, FetchResult):  # else it is a failure
            result._partition_records = _Blocks(tp, result._partition_records)
        super().__setitem__(tp, result)


class _Blocks:
    """Does what aiokafka's PartitionRecords does for a reader of uncommitted messages, a block at a time."""

    def __init__(self, tp: Any, single: Any) -> None:
        first = self.next_fetch_offset = single.next_fetch_offset
        self._tp = tp
        self._batches = single._records
        self._behind = first  # the last batch that was opened
        every = chain.from_iterable(self._opened())
        self._records = dropwhile(lambda record: record.offset < first, every)  # a fetch gives whole batches

    def __iter__(self) -> Iterator[Block]:
        return self

    def __next__(self) -> Block:
        records = list(islice(self._records, BLOCK_MESSAGES))
        if records:
            self.next_fetch_offset = records[-1].offset + 1
        if len(records) < BLOCK_MESSAGES:
            # At the end of the last batch: it may be for the broker only, or have lost its last messages.
            self.next_fetch_offset = max(self.next_fetch_offset, self._behind)
        if not records:
            raise StopIteration
        return Block(list(map(_value_of, records)), self.next_fetch_offset)

    def _opened(self) -> Iterator[Any]:
        while self._batches.has_next():
            batch = self._batches.next_batch()
            if not batch.validate_crc():
                raise CorruptRecordException(f"Invalid CRC - {self._tp}")
            self._behind = batch.next_offset
            if not batch.is_control_batch:
                yield batch
