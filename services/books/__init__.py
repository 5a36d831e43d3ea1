"""What finance closes a month with: read from the log alone, and the same bytes whenever it is asked again.

folding      the books of a month, shard by shard
statements   sealed cycles of a team, and the statement of each
"""
