"""What a JVM knows of Kafka's classes once it has loaded and linked them, in a file for the next one.

    python -m deploy.local.servers.archive

makes it where it is missing: a broker starts, ends in order, and its JVM writes it. A broker that finds it starts for a
third of the processor time: 1.6 s, not 4.7; formatting its storage takes 0.8 s, not 1.2. To make it takes as long as
four starts. `make test` starts some twenty brokers, so it begins with this; everybody else uses the file where it is.
"""

import os
from pathlib import Path

from deploy.local.children import Guard
from deploy.local.folders import folder_of, new_lock
from deploy.local.say import Say, speaker
from deploy.local.servers.kafka import NativeKafka, archive

WRITE_SECONDS = 300  # with every core busy; 5 s alone


def make(say: Say) -> Path:
    """The archive of this checkout; made by several processes at once, it is the one of the last."""
    finished = archive()
    if finished.exists():
        return finished
    say("Kafka: its classes are loaded once for all brokers of the tests…")
    part = finished.with_suffix(f".{os.getpid()}")
    lock = new_lock("archive")
    guard = Guard(lock)
    try:
        folder = folder_of(lock)
        guard.remove_at_end(folder)
        (folder / "logs").mkdir(parents=True)
        broker = NativeKafka(guard, folder, say=lambda _: None, record=part)
        broker.create()
        broker.stop(within_seconds=WRITE_SECONDS)
        part.rename(finished)
    finally:
        part.unlink(missing_ok=True)
        guard.close()
    return finished


if __name__ == "__main__":
    make(speaker())
