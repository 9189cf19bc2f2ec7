"""One connection to another broker: aiomqtt's, with reading and acknowledgements in our hands.

aiomqtt acknowledges on receipt, holds messages without a bound and makes a task for each; paho, which it is built on,
answers PUBREC before anything but memory has the message. This module is all that knows of their insides.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import aiomqtt
from paho.mqtt import client as paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgelake.inputs.mqtt.config import Broker, Subscription
from edgelake.inputs.mqtt.inbox import Held, Inbox

SESSION_S = 7 * 24 * 3600  # how long a broker of MQTT 5 keeps our session while we are away
IN_FLIGHT = 1000  # unacknowledged messages that a broker of MQTT 5 may send
READ_BYTES = 1 << 16
WAIT_S = 10.0  # for CONNACK, SUBACK and the end of a connection
FAILURES = (aiomqtt.MqttError, OSError)

Trace = Callable[[int, str], None]
"""One line of the protocol log: its level as paho counts (1 info ... 16 debug), and the text."""

_ANSWER = {1: (paho.PUBACK, b"\x40\x02"), 2: (paho.PUBREC, b"\x50\x02")}


class Receiver(paho.Client):
    """paho's client, whose PUBREC is sent when the inbox says so, and PUBCOMP for every PUBREL."""

    inbox: Inbox
    _unanswered = 0
    _read = b""
    _read_at = 0

    @property
    def waiting(self) -> bool:
        """Whether bytes were read that ``loop_read`` has not looked at: no socket becomes readable by them."""
        sock = self.socket()
        if sock is None:
            return False
        pending = getattr(sock, "pending", None)
        return self._read_at < len(self._read) or (pending is not None and pending() > 0)

    def _sock_recv(self, bufsize: int) -> bytes:
        """paho asks for the bytes of a packet's head one by one; here many packets come with one call."""
        if self._read_at >= len(self._read):
            self._read, self._read_at = super()._sock_recv(READ_BYTES), 0
        taken = self._read[self._read_at : self._read_at + bufsize]
        self._read_at += len(taken)
        return taken

    def _send_pubrec(self, mid: int) -> MQTTErrorCode:
        self._unanswered = mid
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _handle_publish(self) -> MQTTErrorCode:
        outcome = super()._handle_publish()
        if self._unanswered:
            message = self._in_messages.pop(self._unanswered)
            self._unanswered = 0
            self.took(message)
        return outcome

    def _handle_pubrel(self) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        mid = int.from_bytes(packet[:2], "big")
        outcome = super()._handle_pubrel()
        self.inbox.released(mid)
        return self._send_pubcomp(mid) if outcome == MQTTErrorCode.MQTT_ERR_SUCCESS else outcome

    def took(self, message: paho.MQTTMessage) -> None:
        """Into the inbox. A topic that is no UTF-8 has no client here: it is read as far as it goes."""
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = message._topic.decode(errors="replace")
        payload = bytes(message.payload)
        if message.qos:
            self.inbox.put_held(topic, payload, message.mid, message.qos, again=message.dup, retained=message.retain)
        else:
            self.inbox.put(topic, payload, retained=message.retain)

    def answer(self, held: Sequence[Held]) -> None:
        """Acknowledge messages, with one write for all."""
        packets = b"".join(_ANSWER[one.qos][1] + one.packet_id.to_bytes(2, "big") for one in held)
        self._packet_queue(_ANSWER[held[0].qos][0], packets, held[0].packet_id, 1)


class Link(aiomqtt.Client):
    """A connection. ``open`` returns when the broker accepted us; ``lost`` is done when it ends.

    Raises of every method: ``FAILURES``.
    """

    def __init__(self, broker: Broker, password: str, inbox: Inbox, trace: Trace | None = None) -> None:
        is_5 = broker.version == 5
        properties = None
        if is_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.ReceiveMaximum = IN_FLIGHT
            properties.SessionExpiryInterval = 0 if broker.clean else SESSION_S
        super().__init__(
            broker.host,
            broker.port,
            identifier=broker.client_id,
            username=broker.user or None,
            password=password or None,
            protocol=aiomqtt.ProtocolVersion.V5 if is_5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if is_5 else broker.clean,
            clean_start=cast(Any, broker.clean) if is_5 else paho.MQTT_CLEAN_START_FIRST_ONLY,
            properties=properties,
            keepalive=broker.keepalive_s,
            tls_context=broker.tls.context() if broker.tls is not None else None,
            timeout=WAIT_S,
        )
        self._is_5 = is_5
        self._reading: int | None = None
        self._paused = False
        self._bounded = False
        self.inbox = inbox
        self.resumed = False
        receiver = self._client
        receiver.__class__ = Receiver  # aiomqtt makes it, and has no place to say of which class
        assert isinstance(receiver, Receiver)
        self.receiver = receiver
        receiver.inbox = inbox
        receiver.manual_ack_set(True)
        receiver.on_message = lambda client, userdata, message: receiver.took(message)
        if trace is not None:
            receiver.on_log = lambda client, userdata, level, text: trace(level, text)

    # ---- life

    async def open(self) -> None:
        try:
            await self.__aenter__()
        except BaseException:
            self._drop()
            raise

    async def close(self) -> None:
        """Say goodbye, as far as the connection still stands."""
        if self.receiver.is_connected():
            with contextlib.suppress(*FAILURES):
                await self.__aexit__(None, None, None)
        self._drop()

    def _drop(self) -> None:
        """Leave nothing behind that the loop watches."""
        self.pause()
        sock = self.receiver.socket()
        if sock is not None and sock.fileno() >= 0:
            self._loop.remove_writer(sock.fileno())
            sock.close()
        if self._misc_task is not None:
            self._misc_task.cancel()

    async def lost(self) -> str:
        """Waits for the end of the connection; returns the reason."""
        await asyncio.wait([self._disconnected])
        problem = self._disconnected.exception()
        return str(problem) if problem is not None else "closed"

    async def subscribe_all(self, subscriptions: Sequence[Subscription]) -> list[str]:
        """Returns the filters that the broker refused."""
        wanted: Any
        if self._is_5:  # 1: retained messages only when the subscription is new
            wanted = [(one.filter, SubscribeOptions(qos=one.qos, retainHandling=1)) for one in subscriptions]
        else:
            wanted = [(one.filter, one.qos) for one in subscriptions]
        codes = await self.subscribe(wanted)
        self._bounded = True
        granted = [code if isinstance(code, int) else code.value for code in codes]
        return [one.filter for one, code in zip(subscriptions, granted, strict=False) if code >= 128]

    async def unsubscribe_all(self, subscriptions: Sequence[Subscription]) -> None:
        await self.unsubscribe([one.filter for one in subscriptions])

    # ---- reading

    def pause(self) -> None:
        """Read nothing until ``resume``."""
        self._paused = True
        if self._reading is not None:
            self._loop.remove_reader(self._reading)

    def resume(self) -> None:
        """Read on; nothing while it reads."""
        if self._paused and self._reading is not None:
            self._paused = False
            self._loop.add_reader(self._reading, self._readable)
            self._loop.call_soon(self._read_rest)

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        super()._on_socket_open(client, userdata, sock)
        self._loop.call_soon_threadsafe(self._read_from, sock.fileno())  # in the place of aiomqtt's reader

    def _read_from(self, number: int) -> None:
        self._reading = number
        self._loop.add_reader(number, self._readable)

    def _on_socket_close(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        self._reading = None
        super()._on_socket_close(client, userdata, sock)

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: Any, reason_code: Any, properties: Properties | None = None
    ) -> None:
        if not self._connected.done() and not reason_code.is_failure:
            self.resumed = bool(flags.session_present)
            self.inbox.connected(resumed=self.resumed)
        super()._on_connect(client, userdata, flags, reason_code, properties)

    def _read_rest(self) -> None:
        if not self._paused and self.receiver.waiting:
            self._readable()

    def _readable(self) -> None:
        receiver = self.receiver
        try:
            receiver.loop_read()
            while receiver.waiting:
                if self._bounded and self.inbox.full:
                    break
                receiver.loop_read()
        except Exception as problem:  # noqa: BLE001 - whatever it is, it ends this connection and no other
            if not self._disconnected.done():
                self._disconnected.set_exception(problem)
        if self._bounded and self.inbox.full:
            self.pause()
