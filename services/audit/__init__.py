"""Is the log what was recorded, and do the projections say what it says?

Reads everything, and writes signed notes alone.

signer        the process: a signed checkpoint each half minute
sign_log      a note only for a log that holds all that was signed before
checkpoints   what a note says, and its signature
notes         its vector, its tree, and what is checked of them
outside       what witnesses say of anchors
anchors       copies of the notes outside the database
verify        the whole log against its proofs and the notes
verdict       what was found, and how much it rests on
entry_proof   the proof of one fact, checked without the log: pure
prove         and made
fence         what keeps the log, against what the migrations made
walk          one shard, from its beginning: pure
replay        the log folded anew, against the live projections, shard by shard
replays       what it is made of; on all cores, and after a kill
derived       the tables that move with an append, against the log
expected      what these tables must hold: pure
days          days of usage that are counted for analysts, against the log
follows       whether facts follow from facts: pure
follows_money   the same for payments and charges
follows_people  and for what people decide: alone, or by two
"""
