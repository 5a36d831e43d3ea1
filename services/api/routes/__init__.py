"""The routes by meaning.

Each is thin: it asks a room below, and says the answer in the words of `models` and `wording`.

balances          what a team has, now or then
activity          what happened to it, and why
usage             what was used, for the charts
finance           what finance reads: statements, and which teams there are
streams           both as they change
rates             prices
quotes            what work would cost, and whether it may be done
holds             credits set aside for work that runs
usage_reports     usage by HTTP, and what became of it
limits            of members
teams             a team, its people, its plan
grants            credits that an operator gives or corrects
top_up            settings of automatic top-ups
simulate          what such settings would have charged
purchases         packs
payment_methods   the card that top-ups charge
webhook           what Stripe says has happened: a signature instead of a token
pages             the files of the Usage page
"""
