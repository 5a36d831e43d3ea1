"""Usage from Kafka into the log, exactly once: the recorder, and what became of each record.

consuming       the process: its subscription, its loop, its end
partitions      those that it owns, claimed in the store
last_records    whether the topic is the one that was recorded
recorder        a batch becomes a transaction
batches         records parsed, and cut to transactions
door            a raw record becomes a fact or a refusal
plain           the short way of what is nearly always there
cursors         where it goes on, moved in the transaction that appends
refusals        what was refused, with its bytes and its reason
taking_back     voids, and amendments: a usage is taken back and recorded anew
correcting      usage and captures that an operator corrects, in the same way
approving       what another person asked for is carried out
voids           a usage is taken back once at most
traces          the traces with which usage came
receipts        what became of a usage, for whoever reported it
metrics         what is counted, and the alarm about refusals
"""
