"""Everything Creditwell needs on one machine: a real Kafka, a real PostgreSQL, its own processes.

All of it is gone afterwards.
"""
