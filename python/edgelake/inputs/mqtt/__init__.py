"""Messages of other MQTT brokers (spec: brokers and mapping, section 4)."""

from edgelake.inputs.mqtt.client import RemoteClient
from edgelake.inputs.mqtt.config import Broker, Subscription

__all__ = ["Broker", "RemoteClient", "Subscription"]
