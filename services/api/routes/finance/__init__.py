"""What finance reads.

every_team   which teams there are
statements   what happened to a team's credits in a cycle that is final
"""
