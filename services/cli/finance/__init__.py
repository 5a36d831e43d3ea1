"""Commands with which finance closes a month.

revenue      a month of the books
tie_out      the same against Stripe's balance
close        everything that a month is signed off with
statements   a team's sealed cycle
requests     what waits for another person: listed, approved, rejected
"""
