"""Storms: everything is killed, frozen, cut off and restarted under load, and counted afterwards. `make faults` plays many.

scene         the stage: a whole Creditwell under load, and the oracles that count afterwards
storm         one injection after the other, for minutes or for a day
day           24 hours that go by within minutes, with faults in each
moving_clock  the time of day that such a day has
injections    what a storm does
crash_points  the named places at which it kills, freezes or stops a process
database      what it does to the database and to the way there
hostile       usage that does harm itself
stopping      processes that are asked to end
money         the money matrix: top-ups while a worker dies, Stripe fails and days go by
matrix        many runs of it
books         what the stand-in's books and a team's log have to say about each other
rush          many teams that run low at the same moment
promoted      standbys that were behind, promoted by force
went_back     stores that went back, and what was published comes back
holds         services that are killed amid their blocks
seeds         for those that play one after the other: told, counted, and none ends another
alerts        each alert fires by a real fault, and is over once the runbook was followed
steps         deaths at each step of each work of the API and of every process, many of them
upgrade       to the next build under load, and back
bounds        times that are promised
failover      how soon all is well after a failover: for `bounds`
servers       what takes servers of its own: backups restored, three brokers, topics that grow, a full disk
"""
