"""Automatic top-ups of a team.

state        what the log says about them
fold         what each fact makes of that
decisions    charge or not, how much, and why not
steps        an attempt: what follows from the intent as Stripe has it
months       the periods of its caps
simulation   what other settings would have charged
"""
