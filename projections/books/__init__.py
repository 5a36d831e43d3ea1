"""What paid credits are worth, and where each cent of each payment is: a double-entry book that follows from the log.

accounts   where money stands, and the moves between
payments   what a payment brought, and what of it went back
fold       what each fact moves
month      the bookings of a month, added up, with its checks
cash       what came and went at Stripe, to tie the books out with
ageing     deferred money by age, for whoever estimates breakage
tables     a month as JSON and CSV
journal    a month as a beancount journal
"""
