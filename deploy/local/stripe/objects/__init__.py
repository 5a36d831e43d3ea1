"""What the stand-in keeps books of, one module for each kind of object, with what may be asked of it.

customers        who pays
payment_methods  the cards that people pay with, and those on a customer's file
intents          what is to be paid, and the one time at most that it is
bank             what the bank says to an intent, and where that leaves it
setups           a card on file without money
checkout         pages on which a person pays or saves a card
charges          money that the bank gave, or refused to give
reversals        refunds and disputes
balance          what all of these did to the balance, with fees; payouts
events           what is told about all of these
"""
