"""The language: everything that can be said, and nothing that is done about it. The only code that other teams import.

    facts        what can have happened: the facts of the log
    usage        what feature services report
    quantities   how much it was, one or several by name
    digests      what makes an event the same as one before
    cloudevents  how it is written: formats, data in base64
    notices      what the host product is told
    topics       the Kafka topics of the contract
    rates        rate cards
    pricing      the price of a usage
    catalog      plans, packs, the first rate card
    credits      whole micro-credits inside, decimals outside
    money        minor units, as people read them
    cycles       when a team's months begin and end
    instants     an instant as text
    places       a place in the log, `shard:position`
    spreadsheets  cells that no spreadsheet runs
    problems     what is wrong with a document, in words
    fast         a decoder for what comes by the million
    generate     writes the JSON Schemas and the AsyncAPI
    emitter      how a feature service reports usage, with a spool and a thread: the one part that is not pure

Imports are relative: other teams have this folder as `creditwell_emitter`.
"""
