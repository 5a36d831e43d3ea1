"""What finance reads.

every_team   which teams there are
approvals    what waits for another person
changes      what people decided
corrections  usage that an operator corrects
statements   what happened to a team's credits in a cycle that is final
"""
