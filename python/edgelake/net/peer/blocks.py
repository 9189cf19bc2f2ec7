"""Messages in blocks, a connection each: what every node of the network speaks (network protocol, sections 1 to 3)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Final

from edgelake._rust import PeerMessage, PeerReader, peer_blocks
from edgelake.errors import CredentialsError, EdgeLakeError, NotPermittedError
from edgelake.net.peer import rows
from edgelake.net.peer.dispatch import LARGE_COMMAND, Answer, File, row_request
from edgelake.net.peer.entrance import READ_BYTES, Closing
from edgelake.net.peer.files import BLOCK_BYTES
from edgelake.net.peer.jobs import RowEvent
from edgelake.net.peer.send import address_of, begin, finish, send
from edgelake.net.peer.short import Sending
from edgelake.net.peer.upgrade import mark_of

if TYPE_CHECKING:
    from edgelake.net.peer.service import PeerServer

log = logging.getLogger(__name__)

REPLIES: Final = ("job ", "print", "echo")
"""Beginnings of commands that answer a request."""

TEXT: Final = 4
"""Kind of a message that brings a text."""

_NETWORK_FAILURE = 15
_READING = ("get ", "test ", "blockchain get ")

Reply = tuple[PeerMessage, str, Answer | rows.Rows | None]
"""A request, where replies go, and the reply."""


class Blocks:
    """Reads messages, has them carried out, and sends the replies on connections of their own."""

    def __init__(self, server: PeerServer) -> None:
        self._server = server

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ip: str) -> None:
        """One connection: one message. Whatever is wrong with it costs this connection alone."""
        reply: Reply | None = None
        try:
            reply = await self._message(reader, ip)
        except (ValueError, OSError, EdgeLakeError) as problem:
            self._server.refuse(ip, str(problem))
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        await self._answer(reply)

    async def _answer(self, reply: Reply | None) -> None:
        """Send the reply to a request, on a connection of its own."""
        if reply is None:
            return
        message, reply_to, answer = reply
        if answer is None or isinstance(answer, Answer):
            await self._reply(message, reply_to, answer)
        else:
            to = self._server.connect_to(reply_to)
            await rows.reply(message, self._server.source_for(reply_to), reply_to, to, answer)

    def whole(self, block: bytes, ip: str, connection: Closing) -> bool:
        """Serve a message that is one block, which most are: without the cost of a stream. Raises ValueError."""
        (message,) = PeerReader(self._server.config.message_bytes).feed(block)
        if message.command.startswith("file write "):
            return False
        # A node that asks itself sees its own request here, with the job that waits for the answer.
        is_reply = message.command.startswith(REPLIES)
        asked = self._server.jobs.asked(message, ip) if is_reply else ""
        query = self._server.jobs.query_of(message, ip) if asked else None
        if query is not None:
            if query.is_full:
                return False
            query.push(query.event_of(message))
        self._server.links.learn(message, asked)
        if is_reply and message.job[1]:
            if query is None:
                self._server.jobs.take(message, ip)
            asyncio.get_running_loop().call_soon(connection.close)  # whoever waits for the reply goes first
        else:
            self._requested(message, ip, connection)
        return True

    def _requested(self, message: PeerMessage, ip: str, connection: Closing) -> None:
        """A request of one block came."""
        try:
            key = self._server.signer_of(message, ip)
        except CredentialsError as refusal:
            connection.close()
            self._server.keep(asyncio.ensure_future(self._say_no(message, ip, refusal)))
            return
        if self._is_answered(message, ip, key):
            connection.close()
        else:
            self._server.keep(asyncio.ensure_future(self._whole(message, ip, connection, key)))

    async def _say_no(self, message: PeerMessage, ip: str, refusal: EdgeLakeError) -> None:
        """Tell who sent a message that its signature is not taken."""
        try:
            await self._answer(self._refusal(message, ip, refusal))
        except NotPermittedError as problem:
            self._server.refuse(ip, str(problem))

    def _refusal(self, message: PeerMessage, ip: str, refusal: EdgeLakeError) -> Reply | None:
        """The answer to a message whose signature is not taken. Raises NotPermittedError."""
        if message.command.startswith(REPLIES):
            return None  # an answer to it would be one of these again
        return message, self._server.reply_to(message, ip), Answer(str(refusal), error=refusal.number)

    def _is_answered(self, message: PeerMessage, ip: str, key: str) -> bool:
        """Answer a request that takes no waiting; False: it is to be served by a task."""
        server, command = self._server, message.command
        ready = server.dispatch.ready(command, ip, key)
        if ready is None:
            return False
        try:
            reply_to = server.reply_to(message, ip)
        except NotPermittedError as problem:
            server.refuse(ip, str(problem))
            return True
        if not server.pool.passes():
            return False
        answer = server.dispatch.carry_out(ready, command, reply_to)
        self._say(message, reply_to, answer)
        if not answer.error:
            ready.note()
        return True

    def _say(self, message: PeerMessage, reply_to: str, answer: Answer) -> None:
        """Answer a request, as far as that takes no waiting."""
        server = self._server
        try:
            if (blocks := self._reply_blocks(message, reply_to, answer)) is not None:
                begun = begin(reply_to, blocks, server.connect_to(reply_to))
                if begun is None or begun[1] is not None:
                    server.keep(asyncio.ensure_future(self._send(reply_to, blocks, begun)))
        except (EdgeLakeError, ValueError) as problem:
            _not_arrived(reply_to, problem)

    async def _send(self, reply_to: str, blocks: bytes, begun: tuple[str, Sending | None] | None = None) -> None:
        """Send a reply, or what is left of it."""
        try:
            if begun is None:
                await send(reply_to, blocks, self._server.connect_to(reply_to))
            elif begun[1] is not None:
                await finish(reply_to, begun[1])
        except EdgeLakeError as problem:
            _not_arrived(reply_to, problem)

    async def _whole(self, message: PeerMessage, ip: str, connection: Closing, key: str) -> None:
        reply: Reply | None = None
        try:
            reply = await self._complete(message, None, ip, key)
        except (ValueError, EdgeLakeError) as problem:
            self._server.refuse(ip, str(problem))
        finally:
            connection.close()
        await self._answer(reply)

    async def _message(self, reader: asyncio.StreamReader, ip: str) -> Reply | None:
        """Read a message and carry it out; it, where replies go, and the reply. None: the peer said nothing."""
        joined = PeerReader(self._server.config.message_bytes)
        file: File | None = None
        key = ""
        command, received, loop = "", 0, asyncio.get_running_loop()
        rows_of: PeerMessage | None = None
        deadline = loop.time() + self._server.config.block_s
        try:
            while True:
                data = await self._read(reader, deadline)
                if not data:
                    if received:
                        raise ValueError("the connection ended within a message")
                    return None
                if (received + len(data)) // BLOCK_BYTES > received // BLOCK_BYTES:
                    deadline = loop.time() + self._server.config.block_s
                received += len(data)
                messages = joined.feed(data)
                if messages and not command:
                    self._server.links.learn(messages[0], self._server.jobs.asked(messages[0], ip))
                for message in messages:
                    if (command := command or message.command) != message.command:
                        raise ValueError("the command changes within a message")
                if messages and command.startswith("file write "):
                    if file is None:
                        reply_to = self._server.reply_to(messages[0], ip)
                        try:
                            if messages[0].generic_flag != LARGE_COMMAND:
                                key = self._server.signer_of(messages[0], ip, None)
                            file = self._server.dispatch.open(command, messages[0].generic_flag, reply_to, ip, key)
                        except EdgeLakeError as failure:
                            self._server.refuse(ip, str(failure))
                            return messages[0], reply_to, self._server.dispatch.refused(failure)
                    await self._pieces(file, messages)
                if command.startswith("job ") and (found_rows := [m for m in messages if m.has_rows]):
                    rows_of = found_rows[-1]
                    await self._rows([m for m in found_rows if not m.is_complete], ip)
                    # Who sends faster than we merge waits; that is no silence of its own.
                    deadline = loop.time() + self._server.config.block_s
                if messages and messages[-1].is_complete:
                    found, file = file, None
                    return await self._signed(messages[-1], found, ip, key)
        except (ValueError, OSError) as problem:
            if rows_of is not None:
                await self._broken(rows_of, ip, str(problem))
            raise
        finally:
            if file is not None:
                file.path.unlink(missing_ok=True)

    async def _signed(self, message: PeerMessage, file: File | None, ip: str, key: str) -> Reply | None:
        """Carry out a message of several blocks; the signature of all but a file covers what has come."""
        is_reply = bool(message.job[1]) and message.command.startswith(REPLIES)
        try:
            if file is not None and file.flag == LARGE_COMMAND:
                key = self._server.signer_of(message, ip, await asyncio.to_thread(file.path.read_bytes))
            elif file is None and not is_reply:
                key = self._server.signer_of(message, ip)
        except CredentialsError as refusal:
            if file is not None:
                file.path.unlink(missing_ok=True)
            return self._refusal(message, ip, refusal)
        return await self._complete(message, file, ip, key)

    async def _rows(self, messages: list[PeerMessage], ip: str) -> None:
        """Hand rows to their query. Raises ValueError, which ends the connection, when it is over."""
        for message in messages:
            job = self._server.jobs.query_of(message, ip)
            if job is None or not await job.put(job.event_of(message)):
                self._server.jobs.dropped += 1
                raise ValueError("rows that nobody waits for")

    async def _broken(self, message: PeerMessage, ip: str, why: str) -> None:
        """Rows break off: who waits for the rest is told."""
        if (job := self._server.jobs.query_of(message, ip)) is not None:
            await job.put(RowEvent(message.job[3], is_end=True, error=_NETWORK_FAILURE, text=why))

    async def _read(self, reader: asyncio.StreamReader, deadline: float) -> bytes:
        """What has come. Raises ValueError when the block takes too long."""
        try:
            async with asyncio.timeout_at(deadline):
                return await reader.read(READ_BYTES)
        except TimeoutError:
            raise ValueError(f"no whole block within {self._server.config.block_s:g} seconds") from None

    async def _pieces(self, file: File, messages: list[PeerMessage]) -> None:
        await asyncio.to_thread(file.append, b"".join(message.data for message in messages))
        if file.size_bytes > (
            self._server.config.message_bytes if file.flag == LARGE_COMMAND else self._server.config.file_bytes
        ):
            raise ValueError(f"a file of more than {file.size_bytes:,} bytes")

    async def _complete(self, message: PeerMessage, file: File | None, ip: str, key: str) -> Reply | None:
        try:
            if message.job[1] and message.command.startswith(REPLIES):
                if (query := self._server.jobs.query_of(message, ip)) is not None:
                    await query.put(query.event_of(message))
                else:
                    self._server.jobs.take(message, ip)
                return None
            reply_to = self._server.reply_to(message, ip)
            async with self._server.pool.place():
                if message.command.startswith("sql"):
                    is_ours = self._server.is_upgraded(reply_to)
                    request = row_request(message, reply_to, "", knows_others=is_ours)
                    return message, reply_to, await self._server.dispatch.query(request, ip, key)
                if file is not None:
                    return message, reply_to, await self._server.dispatch.file(file, ip, reply_to, key)
                return (
                    message,
                    reply_to,
                    await self._server.dispatch.command(message.command, message.data, ip, reply_to, key),
                )
        finally:
            if file is not None:
                file.path.unlink(missing_ok=True)

    async def _reply(self, message: PeerMessage, reply_to: str, answer: Answer | None) -> None:
        """Send what there is to say to a request."""
        try:
            blocks = self._reply_blocks(message, reply_to, answer)
        except (EdgeLakeError, ValueError) as problem:
            _not_arrived(reply_to, problem)
            return
        if blocks is not None:
            await self._send(reply_to, blocks)

    def _reply_blocks(self, message: PeerMessage, reply_to: str, answer: Answer | None) -> bytes | None:
        """What there is to say to a request. Raises EdgeLakeError, ValueError."""
        if (told := said(message, answer)) is None:
            return None
        verb, text, code, flag = told
        source = address_of(self._server.source_for(reply_to))
        mark = mark_of(source)
        return peer_blocks(verb, text, source, job=message.job, info=TEXT, error=code, generic_flag=flag, mark=mark)


def _not_arrived(reply_to: str, problem: Exception) -> None:
    log.warning("the reply to %s did not arrive: %s", reply_to, problem)


def said(message: PeerMessage, answer: Answer | None) -> tuple[str, bytes, int, int] | None:
    """Command, text, error and flag of a reply; None: nobody waits for it."""
    if answer is None:
        return None
    is_awaited = bool(message.job[1])
    if not (answer.text or answer.error):
        if not is_awaited:
            return None
        if not message.command.startswith(_READING):  # nothing is what there is to read
            answer = Answer("OK")  # whoever waits is told that it is done
    verb = "echo" if answer.error else "print"
    if answer.in_command and not is_awaited:  # whoever waits, in the reference, sees data alone
        verb, answer = f"{verb} {answer.text}", Answer(error=answer.error)
    return verb, answer.text.encode(), answer.error, 2 if answer.is_json else 1
