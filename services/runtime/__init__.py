"""What every process shares: how it is set up, runs, waits, tells how it is, and ends. Knows nothing of credits.

processes         the one table of the processes
settings          everything that can be set from outside
settings_loading  the settings from the environment and from files
running           one process, from its start to its exit code
supervisor        all of them as children of one
clock             the time as an argument; waiting that hears the stop
retry             waiting for what is away
kafka             Kafka's clients, made from the settings, their tokens, and the topics
errors            the three kinds of failure
health            alive, ready, getting on?
health_pages      the same over HTTP, and metrics
http_server       an application on an address
http_protocol     what a caller may send before anybody knows who that is
logs              structured lines on standard error
tracing           in which trace something is done, and OpenTelemetry's spans
minutes           what a process did, said once a minute
crashpoints       where a fault test may end or stop a process
long_work         work on all cores, and files that a kill leaves whole
niceness          who gives way to whom on a shared machine
gc_tuning         Python's search for garbage, out of the way of batches
"""
