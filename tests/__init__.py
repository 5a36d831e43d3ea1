"""Sentences about the product; `README.md` says how they are written.

    unit          no sockets, no other process, a clock as an argument
    integration   one process of ours or a few, real Kafka, real PostgreSQL
    e2e           everything, in a real browser or another language
    faults        everything, while it is killed, frozen and cut off: `make faults`
    bench         everything, as fast as it goes: `make bench`
    outside       others' programs that are too large for every run: `make outside-checks`
    support       what several kinds share
    vectors       logs and proofs for verifiers, with what each must find
    conftest      the stack that all tests of a run share, and how examples are drawn

`clocks/` runs the tests that speak of the calendar on other days: `make dates`.
"""
