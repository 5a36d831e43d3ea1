"""Holds: credits set aside for work that runs, until it is done, given up, or out of time.

hold         what a hold is, and what a command makes of one
placing      may it be placed? then its fact and its row
moving       captured, extended, released
at_once      both without waiting for the lock first: read, decide, and one statement
settlement   holds that end without a command: usage that names one settles it, and the clock ends the others
"""
