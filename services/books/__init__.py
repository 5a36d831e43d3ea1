"""What finance closes a month with: read from the log alone, and the same bytes whenever it is asked again.

`tie_out` asks Stripe, too, and is the only one that does.

folding         the books of a month, shard by shard
tie_out         those books against Stripe's balance, payment by payment
tie_out_tables  the same as JSON and CSV
closing         the folder of a closed month
statements      sealed cycles of a team, and the statement of each
"""
