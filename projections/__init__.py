"""The meaning of facts: pure folds, and the DDL of the tables beside them.

No clock, no connection, no format of PostgreSQL's.

    balance       what a team has: lots, holds, debt; the one fold that everything derives from
    top_ups       what the log says about automatic top-ups, and what is decided from it
    usage         credits and uses per day, member and feature
    usage_by_attribute  the same per value of the attributes that are counted
    activity      entries and runs of them, in SQL
    entitlement   may this work be done?
    books         what paid credits are worth, and where each cent of a payment is
    statements    what happened to a team's credits in a sealed cycle
    repricing     what a team would have paid by another rate card
    sold          does what a payment brought follow from what was asked for?
    approvals     how many credits a person has moved alone
    reversals     one account for each payment of which money went back
    columns       balances from columns of facts: what any engine maps over the files of a shard
    notices       which facts the host product is told of, and in what words
    analytics     the views that analysts read
    versions      the DDL, and the numbers in the names of tables

Live projector, replay, audit and tests run the same functions. `services.read_models` keeps in PostgreSQL what they
say.
"""
