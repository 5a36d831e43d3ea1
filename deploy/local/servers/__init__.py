"""Kafka and PostgreSQL of this machine: native, or in containers, with the topics of the contract."""
