"""The API and the Usage page: reads, commands, and a stream of what changes.

    access      who may do what, in one place; `turnstile`: and how often
    balances activity usage streams rates quotes holds limits reporting teams gifts purchases …     the routes, by meaning
    webhook     what Stripe says has happened: a signature instead of a token
    once        commands that may come twice; `lanes`: those about one shard, one at a time
    problems    what goes wrong, in one form; `codes`: every way in which that may happen
    document    the OpenAPI document, from the routes, `models`, `codes` and `examples`; `described`: what a route says of itself
    pages       the files of the Usage page

It holds nothing that can't be read again: any number of them may run side by side.
"""
