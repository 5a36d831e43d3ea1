"""Kafka and PostgreSQL of this machine: native, or in containers, with the topics of the contract.

kafka              a real Kafka from its jars
jars               those jars, by their hashes
archive            what a JVM knows of Kafka's classes, for the next one
postgres           a real PostgreSQL from a wheel
postgres_settings  how it is set
containers         both in Docker, where Docker answers
topics             the topics of the contract
topic_ends         how far they have been written
"""
