"""A store that went back in time goes on: what was published comes back at its positions.

resume      the way: what was lost, what of it comes back, and all of that in one transaction
tail        whether the lost facts can come back, with their blocks: pure
evidence    who else knows of them: the topic `usage`, Stripe, anchors; what nobody knows is for a person
anchored    what a signed note outside the database proves
watching    the process that asks for it where no person is needed
tables      the tables that move with an append, made for the teams that are touched

It takes the login of the migrations. No process has it but the one that somebody starts for this alone.
"""
