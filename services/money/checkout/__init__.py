"""Stripe's own pages, on which an admin buys a pack or saves a card.

flow        from the click to the credits
outcome     what has become of a page, and why
purchases   what was sold, by the log
rows        what each page was opened for, and what came of it
customers   what Stripe calls a team, and the card that is charged
cards       what the log says of that card
"""
