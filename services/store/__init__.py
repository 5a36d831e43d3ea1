"""The event store that all processes share: appending, reading, cursors, claims, proofs, and what is kept beside the log.

Everything goes in by `append`. Whole shards are read by `read.read_after`, which checks that nothing is missing; what one question
needs is selected beside it.
"""
