"""Everything Creditwell needs on one machine: a real Kafka, a real PostgreSQL, and its own processes, all gone afterwards."""
