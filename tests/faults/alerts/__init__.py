"""Each alert is made to fire by a real fault, and is over once the runbook was followed.

prometheus    scrapes the processes; Prometheus' own engine evaluates the alerts
stage         a whole Creditwell with people, money and usage; the runbook's commands
table         which fault belongs to which alert
processes     dead or slow processes, and the work that waits
people        Stripe, the host product and feature services
proof         signer, anchors and witness
kafka_tools   Kafka's own, as an operator runs them
servers       the servers themselves: too few brokers, a standby that was behind
play          one after the other
"""
