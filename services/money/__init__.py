"""Money: nothing else in the product asks Stripe. It reads balances, and appends what was paid and what went back.

topup           the process: whoever ran low is charged, once
top_ups         automatic top-ups: settings, attempts, charging
checkout        Stripe's pages: packs, cards, customers
inbox           Stripe's news, one after the other
inbox_rows      the rows of these news
stamps          what we write upon every intent, and can prove
payment_details  receipts and the digits of cards, beside the log
adopting        payments that the log has lost, and what they are owed
reversals       refunds and disputes
reconcile       Stripe against the log, both ways
stripe_client   the line to Stripe
"""
