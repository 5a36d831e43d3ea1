"""What the client of Kafka says while a broker is away: at every attempt, as an error. The emitter has said it once.

Only in the emitter's own threads: whatever else of a program uses the same client logs as ever.
"""

import logging
import threading

_here = threading.local()
logger = logging.getLogger(__name__)


def _is_of_others(record: logging.LogRecord) -> bool:
    if not getattr(_here, "is_senders", False):
        return True
    logger.debug("%s: %s", record.name, record.getMessage())
    return False


def quieten_client() -> None:
    """From now on, what the client logs in this thread goes to this module's logger, for debugging."""
    _here.is_senders = True
    for name in list(logging.root.manager.loggerDict):
        if name.partition(".")[0] == "aiokafka":
            logging.getLogger(name).addFilter(_is_of_others)
