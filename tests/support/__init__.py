"""What the tests share: telling facts, sending usage, running services, counting afterwards.

world                a database of its own, teams, a producer, recorders, questions to the log
serving              processes of ours, killed at a named place
fleet                all of them, by name
api                  the API on a real port, and clients for each role
collector            an OpenTelemetry collector that stands in, and remembers spans
client_api           an API that stands in for the clients' own tests
model_provider       a provider of models that stands in, with the shapes of real answers
tokens               tokens of an issuer that tests play, and forged ones
limits               the clock of the API's limits
openapi              the OpenAPI document, held tightly
schemathesis_hooks   what schemathesis must know
cited                the tests that a page names
facts                facts in a few words
holds                holds in a few words
payments             payments, charged and credited
two_lives            a store that goes back in time, and what it charges then
lives                what a store publishes, and a copy of it that is the store from then on
promoted             a standby that was behind, and is promoted
restored             a server that archives, and what is restored of it
desk                 the stand-in for Stripe, and what both books must agree upon
usage                usage as feature services write it, with none of our code
calls                calls of a model, and a card that prices their tokens
decoders             usage in every way that JSON allows, read by both decoders
load                 usage as a busy product sends it, from a seed
history              random histories, stored fact by fact
honest               random histories, told by the product's own functions
heads                heads of shards, moved by hand
past                 a team's past, recorded as if then
questions            the questions of docs/analytics.md
projections          live rows, and the same from a fold of the whole log
months               some teams over some months, with proofs and notes
bookkeeping          one team's history told to the books, and the worked example of docs/revenue.md
model                a slow, obvious model of a team's credits
fold_one             what balances came to before never-ending credits paid the debt
oracle               after the storm: is everything in the log, once, in order?
relayed              was everything published?
secured              a Kafka that wants a login, a token or a certificate
token_endpoint       an OAuth endpoint that gives tokens for client credentials
timestamps           an authority that stamps the time, as RFC 3161 has it
cosigning            a witness that cosigns notes, as C2SP has it
packed               batches that are small in Kafka and large when they are unpacked
topics               topics, read with another client
top_up_simulator     sixty days of teams, banks and admins that mean no good
containers           programs that see of each other nothing but files
connections          several sessions of the database
proxy                a network that fails on purpose
changing_proxy       an HTTP proxy that changes headers as nginx does
nginx                a real nginx, as the docs set it up
pgbouncer            a real PgBouncer
production           a database as deploy/roles.sql makes it
eleven               a database as older builds made it
page                 the Usage page, opened by somebody
browser              a real Chromium
next_build           the build after this one, as a changed copy of the source tree
node                 programs in Node
absent               what this machine may not have
waiting              until something is so, never without an end
"""
