"""A store that went back in time goes on: what was published comes back at its positions.

resume      the way: what was lost, what of it comes back, and all of that in one transaction
tail        whether the lost facts can come back, with their blocks: pure
witnesses   who else knows of them: the topic `usage`, Stripe, anchors; what nobody knows is for a person
anchored    what a signed note outside the database proves
tables      the tables that move with an append, made for the teams that are touched

It is asked by a person (`creditwell resume`), never by a process.
"""
