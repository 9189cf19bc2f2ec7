"""The clients that people use, behind one face: paho, aiomqtt, mqtt.js, and mosquitto's command line programs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import aiomqtt
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.mqtt.brokers import Files

WAIT_S = 15.0
FOREVER_S = 3600
JS = Path(__file__).with_name("js") / "client.mjs"


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes
    qos: int = 0
    retain: bool = False


@dataclass(frozen=True)
class Options:
    """How a client comes. ``files``: over TLS. ``keeps``: its session outlives the connection."""

    port: int
    client_id: str
    version: int = 4
    websocket: bool = False
    files: Files | None = None
    keeps: bool = False
    user: str = ""
    password: str = ""
    will: Message | None = None


class Refused(Exception):
    """The broker did not accept the connection."""


class Client(Protocol):
    """A connection. ``received`` fills while it stands."""

    received: queue.Queue[Message]
    session_present: bool | None  # None: the program does not tell

    def __init__(self, options: Options) -> None: ...
    def subscribe(self, topic_filter: str, qos: int) -> None: ...
    def publish(self, message: Message) -> None:
        """Returns when it is acknowledged, or sent with QoS 0."""

    def close(self) -> None:
        """With a DISCONNECT."""

    def kill(self) -> None:
        """Without one."""


def end_quietly(client: Client) -> None:
    """End a client that may have ended."""
    with contextlib.suppress(Exception):
        client.kill()


def take(client: Client, count: int) -> list[Message]:
    """The next messages. Raises ``queue.Empty`` when they do not come."""
    return [client.received.get(timeout=WAIT_S) for _ in range(count)]


class Paho:
    def __init__(self, options: Options) -> None:
        self.received: queue.Queue[Message] = queue.Queue()
        self.session_present: bool | None = None
        self._answers: queue.Queue[Any] = queue.Queue()
        is_5 = options.version == 5
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if is_5 else not options.keeps,
            protocol=paho.MQTTv5 if is_5 else paho.MQTTv311,
            transport="websockets" if options.websocket else "tcp",
            reconnect_on_failure=False,
        )
        if options.files is not None:
            self._client.tls_set(str(options.files.ca))
        if options.user:
            self._client.username_pw_set(options.user, options.password)
        if options.will is not None:
            will = options.will
            self._client.will_set(will.topic, will.payload, will.qos, will.retain)
        self._client.on_connect = lambda client, data, flags, code, more: self._answers.put((flags, code))
        self._client.on_subscribe = lambda client, data, mid, codes, more: self._answers.put(codes)
        self._client.on_message = lambda client, data, m: self.received.put(
            Message(m.topic, bytes(m.payload), m.qos, bool(m.retain))
        )
        properties = None
        if is_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = FOREVER_S if options.keeps else 0
        clean: Any = not options.keeps if is_5 else paho.MQTT_CLEAN_START_FIRST_ONLY
        self._client.connect("127.0.0.1", options.port, clean_start=clean, properties=properties)
        self._client.loop_start()
        flags, code = self._answers.get(timeout=WAIT_S)
        if code.is_failure:
            self._client.loop_stop()
            raise Refused(str(code))
        self.session_present = bool(flags.session_present)

    def subscribe(self, topic_filter: str, qos: int) -> None:
        self._client.subscribe(topic_filter, qos)
        codes = self._answers.get(timeout=WAIT_S)
        assert codes[0].value == qos, codes

    def publish(self, message: Message) -> None:
        info = self._client.publish(message.topic, message.payload, message.qos, message.retain)
        info.wait_for_publish(WAIT_S)
        assert info.is_published()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def kill(self) -> None:
        sock: Any = self._client.socket()
        (sock._socket if hasattr(sock, "_socket") else sock).shutdown(2)
        self._client.loop_stop()


class AioMqtt:
    """aiomqtt in a loop of its own thread."""

    def __init__(self, options: Options) -> None:
        self.received: queue.Queue[Message] = queue.Queue()
        self.session_present: bool | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client = self._run(self._open(options))
        asyncio.run_coroutine_threadsafe(self._read(), self._loop)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(WAIT_S)

    async def _open(self, options: Options) -> aiomqtt.Client:
        is_5 = options.version == 5
        properties = None
        if is_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = FOREVER_S if options.keeps else 0
        will = options.will
        clean: Any = not options.keeps if is_5 else paho.MQTT_CLEAN_START_FIRST_ONLY
        client = aiomqtt.Client(
            "127.0.0.1",
            options.port,
            identifier=options.client_id,
            username=options.user or None,
            password=options.password or None,
            protocol=aiomqtt.ProtocolVersion.V5 if is_5 else aiomqtt.ProtocolVersion.V311,
            clean_session=None if is_5 else not options.keeps,
            clean_start=clean,
            properties=properties,
            transport="websockets" if options.websocket else "tcp",
            tls_context=options.files.context() if options.files is not None else None,
            will=aiomqtt.Will(will.topic, will.payload, will.qos, will.retain) if will is not None else None,
        )
        try:
            return await client.__aenter__()
        except aiomqtt.MqttError as problem:
            raise Refused(str(problem)) from problem

    async def _read(self) -> None:
        async for m in self._client.messages:
            self.received.put(Message(str(m.topic), m.payload, m.qos, bool(m.retain)))

    def subscribe(self, topic_filter: str, qos: int) -> None:
        codes = self._run(self._client.subscribe(topic_filter, qos))
        assert [code if isinstance(code, int) else code.value for code in codes] == [qos]

    def publish(self, message: Message) -> None:
        self._run(self._client.publish(message.topic, message.payload, message.qos, message.retain))

    def close(self) -> None:
        self._run(self._client.__aexit__(None, None, None))
        self._end()

    def kill(self) -> None:
        if not self._loop.is_closed():
            sock: Any = self._client._client.socket()
            (sock._socket if hasattr(sock, "_socket") else sock).shutdown(2)
            self._end()

    def _end(self) -> None:
        """Leave no task to the collector."""
        self._run(_cancel_others())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


class MqttJs:
    def __init__(self, options: Options) -> None:
        self.received: queue.Queue[Message] = queue.Queue()
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._process = subprocess.Popen(["node", JS], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._read, daemon=True).start()
        schemes = {(False, False): "mqtt", (True, False): "ws", (False, True): "mqtts", (True, True): "wss"}
        scheme = schemes[options.websocket, options.files is not None]
        will = options.will
        settings: dict[str, Any] = {
            "clientId": options.client_id,
            "protocolVersion": options.version,
            "clean": not options.keeps,
        }
        if options.version == 5 and options.keeps:
            settings["properties"] = {"sessionExpiryInterval": FOREVER_S}
        if options.user:
            settings |= {"username": options.user, "password": options.password}
        answer = self._ask(
            "connect",
            url=f"{scheme}://127.0.0.1:{options.port}",
            options=settings,
            ca=str(options.files.ca) if options.files is not None else None,
            will=will and {"topic": will.topic, "payload": will.payload.hex(), "qos": will.qos, "retain": will.retain},
        )
        self.session_present: bool | None = answer["sessionPresent"]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            event = json.loads(line)
            if "message" in event:
                m = event["message"]
                self.received.put(Message(m["topic"], bytes.fromhex(m["payload"]), m["qos"], m["retain"]))
            else:
                self._answers.put(event)

    def _ask(self, request: str, **given: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"request": request, **given}).encode() + b"\n")
        self._process.stdin.flush()
        event = self._answers.get(timeout=WAIT_S)
        if "failure" in event:
            self.kill()
            raise Refused(event["failure"])
        answer: dict[str, Any] = event["answer"]
        return answer

    def subscribe(self, topic_filter: str, qos: int) -> None:
        assert self._ask("subscribe", filter=topic_filter, qos=qos) == {"qos": qos}

    def publish(self, message: Message) -> None:
        self._ask("publish", topic=message.topic, payload=message.payload.hex(), qos=message.qos, retain=message.retain)

    def close(self) -> None:
        self._ask("close")
        self.kill()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class Mosquitto:
    """mosquitto_sub for what it receives, a mosquitto_pub for each message. The session is that of the subscriber."""

    def __init__(self, options: Options) -> None:
        self.received: queue.Queue[Message] = queue.Queue()
        self.session_present: bool | None = None
        self._options = options
        self._subscriber: subprocess.Popen[bytes] | None = None
        self._subscribed = threading.Event()

    def _common(self) -> list[str]:
        options = self._options
        found = ["-h", "127.0.0.1", "-p", str(options.port), "-V", "mqttv5" if options.version == 5 else "mqttv311"]
        if options.files is not None:
            found += ["--cafile", str(options.files.ca)]
        if options.user:
            found += ["-u", options.user, "-P", options.password]
        return found

    def subscribe(self, topic_filter: str, qos: int) -> None:
        arguments = ["-i", self._options.client_id, "-t", topic_filter, "-q", str(qos), "-d", "-F", "=%q %r %x %t"]
        if self._options.keeps:
            arguments += ["-c", *(["-x", str(FOREVER_S)] if self._options.version == 5 else [])]
        if (will := self._options.will) is not None:
            arguments += ["--will-topic", will.topic, "--will-payload", will.payload.decode()]
            arguments += ["--will-qos", str(will.qos), *(["--will-retain"] if will.retain else [])]
        line_by_line = ["stdbuf", "-oL"]
        self._subscriber = subprocess.Popen(
            [*line_by_line, "mosquitto_sub", *self._common(), *arguments], stdout=subprocess.PIPE
        )
        threading.Thread(target=self._read, args=(self._subscriber,), daemon=True).start()
        assert self._subscribed.wait(WAIT_S)

    def _read(self, subscriber: subprocess.Popen[bytes]) -> None:
        assert subscriber.stdout is not None
        for line in subscriber.stdout:
            if line.startswith(b"Subscribed"):
                self._subscribed.set()
            if line.startswith(b"="):
                qos, retain, payload, topic = line[1:].rstrip(b"\n").decode().split(" ", 3)
                self.received.put(Message(topic, bytes.fromhex(payload), int(qos), retain == "1"))

    def publish(self, message: Message) -> None:
        arguments = ["-t", message.topic, "-q", str(message.qos), *(["-r"] if message.retain else [])]
        arguments.append("-s" if message.payload else "-n")
        subprocess.run(
            ["mosquitto_pub", *self._common(), *arguments], input=message.payload, check=True, timeout=WAIT_S
        )

    def close(self) -> None:
        self._end(signal.SIGTERM)  # it says goodbye

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self._subscriber is not None:
            self._subscriber.send_signal(how)
            self._subscriber.wait(WAIT_S)


KINDS: dict[str, Callable[[Options], Client]] = {
    "paho": Paho,
    "aiomqtt": AioMqtt,
    "mqtt.js": MqttJs,
    "mosquitto": Mosquitto,
}
