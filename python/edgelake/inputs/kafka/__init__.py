"""Messages of Kafka topics (spec: brokers and mapping, section 13)."""

from edgelake.inputs.kafka.config import Cluster, Login, Source
from edgelake.inputs.kafka.consumer import KafkaConsumer
from edgelake.inputs.kafka.consumers import KafkaConsumers

__all__ = ["Cluster", "KafkaConsumer", "KafkaConsumers", "Login", "Source"]
