"""Reconciliation: does Stripe say what the log says, payment by payment, to the cent?

schedule   when it runs by itself
listing    Stripe's lists, whole
compare    every payment against the log, every credit against Stripe
breaks     where the two differ, and what to do next: pure
report     what a comparison saw, and the time that it is about
reads      what it asks of the store
"""
