"""The balance of a team.

state       what it is made of: lots, holds, settings; and the entries of the activity
fold        what each fact does to it
lots        how lots gain, burn, end and settle
holds       amounts that are set aside
reversals   what goes back of a payment, and what of it comes back
debt        who pays what no lot of its time could pay
amending    a usage that replaces another one: only the difference moves
plain       usage that one open lot pays, the short way
crossings   low, out, recovered: once per crossing
snapshots   states of the past, from which a fold can begin
"""
