"""Automatic top-ups at work. What is decided, and why not, is told in `projections.top_ups`.

settings    how a team's top-ups work
log         their state, folded from a team's facts
attempts    how far each charge has come at Stripe, and who works on it
due         whom to look at
charging    one attempt, taken through Stripe
looking     before money moves: payments that the log has lost
crediting   what was paid becomes credits, once
"""
