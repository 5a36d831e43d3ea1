"""What a replay is made of; on all cores, and to be taken up again after a kill.

scope      what is compared: pure
fold       one shard, folded anew
comparing  the rows of the live projections against those of the fold
outcome    what was folded, and what is wrong: pure
all_cores  each shard by a process of its own; what they come to, in the order of the shards
progress   what is done, in a file
"""
