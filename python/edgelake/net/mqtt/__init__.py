"""The node's own MQTT broker as a service: sockets and sessions are native, who may do what is decided here."""

from edgelake.net.mqtt.config import BrokerConfig, Rows
from edgelake.net.mqtt.service import MqttBroker

__all__ = ["BrokerConfig", "MqttBroker", "Rows"]
