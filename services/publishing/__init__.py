"""The log goes out: every fact to Kafka, some as notices to the host product. The store is the outbox.

    relay         the process: facts and refused records, in order, at least once
    refused       refused records, and how long their bytes are kept
    batches       facts as Kafka's records, one batch for each partition
    looking       before anything is published: is this log the newest?
    others        whether anybody else publishes as this log
    beyond        what Kafka holds behind what the store knows of
    notices       the notices that are due, sent
    notice_rows   found in the log once, kept until the host has them
    webhooks      one signed request, its answer, the next try

It reads the log and appends nothing to it.
"""
