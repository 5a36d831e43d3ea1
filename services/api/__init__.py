"""The API and the Usage page: reads, commands, and a stream of what changes.

    serving          the process
    app              the application: routes and what surrounds them
    routes           one module for each group of routes
    models           the shapes of requests and answers
    wording          what customers read: facts in words
    openapi          the OpenAPI document, from the routes, the models and the codes
    access           who may do what, in one place
    tokens           who is calling
    token_keys       the keys that verify tokens
    rate_limits      and how often
    middleware       around every request: an id, a limit, how long it took
    context          what every request shares
    bodies           JSON in which no digit is lost
    answers          what answers are made of
    problems         what goes wrong, in one form
    idempotency      commands that may come twice
    lanes            those about one shard, one at a time; what is dear after all others
    watch            whoever waits for news of a shard is woken
    rate_cards       the rate cards, looked for again now and then
    usage_producer   usage that comes by HTTP goes to Kafka
    stripe_return    the way to Stripe's pages and back

It holds nothing that can't be read again: any number of them may run side by side.
"""
