"""What happened to a team's credits in a cycle that is sealed: a statement, whose bytes never change.

fold       in which cycle each entry counts, and the sums; a short way for plain usage
usages     a team's usages side by side, as the short way takes them
payers     who paid each usage, which its void has to be told
lines      what a statement lists: features, members, payments, late entries, corrections
document   a statement as JSON and CSV
"""
