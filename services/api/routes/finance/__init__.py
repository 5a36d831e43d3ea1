"""What finance reads.

statements   what happened to a team's credits in a cycle that is final
"""
