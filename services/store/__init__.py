"""The event store that all processes share: appending, reading, cursors, claims, proofs, and what is kept beside the log.

`append.append` is the only way in and `read.read_after` the only way out; every statement stands beside its only caller.
"""
