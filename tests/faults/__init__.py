"""Storms: everything is killed, frozen, cut off and restarted under load, and counted afterwards. `make faults` plays many."""
