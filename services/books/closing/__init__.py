"""The folder of a closed month: made from the log alone, by anybody, to the same bytes.

ledger        where the facts come from: the database, or archives and anchors
month_end     what a month comes to: books, balances, statements
month_folder  the folder and its manifest
checking      what is checked: proofs, fold, books, Stripe
verdicts      what was checked this time, and the page that says so
"""
