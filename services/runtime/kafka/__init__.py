"""Kafka, as every process meets it: clients from the settings, tokens, and the topics of the contract.

clients      how Kafka is reached, and every client of ours
any_batch    what consumers are given of batches that can't be read, or should not be
unpacking    what producers have compressed, unpacked within a bound
tokens       tokens for brokers that want OAUTHBEARER, renewed before they end
topics       what the topics must be, and where they differ: values alone
topic_admin  the topics looked at, made and mended
assurance    what the topics promise, told at each start
watch        whether Kafka answers, asked now and then
"""

from services.runtime.kafka.clients import admin, broker, connection_of, consumer, producer, security_of

__all__ = ["admin", "broker", "connection_of", "consumer", "producer", "security_of"]
