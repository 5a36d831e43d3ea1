"""What happened to a team's credits in a cycle that is sealed: a statement, whose bytes never change.

fold       in which cycle each entry counts, and the sums
lines      what a statement lists: features, members, payments, late entries, corrections
document   a statement as JSON and CSV
"""
