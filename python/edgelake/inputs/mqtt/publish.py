"""Send messages to another broker: one connection for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import aiomqtt

from edgelake.errors import ServiceError
from edgelake.inputs.mqtt.config import Broker
from edgelake.inputs.mqtt.link import Trace


async def publish(target: Broker, topic: str, payloads: Sequence[bytes], qos: int, trace: Trace) -> None:
    """Returns when all are sent, and acknowledged where ``qos`` asks for it.

    Raises ServiceError for a broker that is not reached, or refuses us or a message.
    """
    password = await asyncio.to_thread(target.secret, int(time.time()))
    client = aiomqtt.Client(
        target.host,
        target.port,
        identifier=target.client_id,
        username=target.user or None,
        password=password or None,
        protocol=aiomqtt.ProtocolVersion.V5 if target.version == 5 else aiomqtt.ProtocolVersion.V311,
        clean_session=None if target.version == 5 else True,
        keepalive=target.keepalive_s,
        tls_context=target.tls.context() if target.tls is not None else None,
    )
    client._client.on_log = lambda paho, userdata, level, text: trace(level, text)
    try:
        async with client:
            for payload in payloads:
                await client.publish(topic, payload, qos)
    except (aiomqtt.MqttError, OSError) as problem:
        raise ServiceError(f"{target.host}:{target.port}: {problem}") from problem
