"""What signed notes are made of, and what is checked of them.

tree         Merkle trees that grow, and proofs about them: pure
vectors      what a note says of every shard: pure
published    how far may be signed: pure
note_walk    the notes from their beginning: pure
chain_check  what they say of the shards, against the chains of blocks: pure
checking     notes and anchors of a database, page by page
"""
