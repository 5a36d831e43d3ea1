"""On a machine that they share, whoever works through masses gives way to whoever answers somebody.

Without it a question waits behind a batch each time that a process or a session of the database has to go on. With both
cores busy the slowest hundredth of the reads took two to four times as long. Masses lose nothing: what waits makes
larger batches. Usage that waits in Kafka costs nobody anything. Facts that wait for the projector are folded by each
read anew, so the projector gives way to nobody (docs/decisions/35-usage-waits-in-kafka.md).
"""

import os
from pathlib import Path
from time import sleep

NICENESS = 8  # of 19: a sixth of the processor's time while somebody else wants it, and all of it otherwise

# Linux may share out the processor by sessions first, and then niceness counts within a session only.
OF_THE_SESSION = Path("/proc/self/autogroup")
TRIES, AGAIN_SECONDS = 20, 0.1  # on the whole machine one change in a tenth of a second


def give_way() -> None:
    """Ask for less of the processor than others, and not at once, for good. Anybody may ask for less."""
    os.nice(NICENESS)
    # On Linux: whoever wakes up for masses takes a core from nobody in the midst of an answer.
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    if os.getsid(0) != os.getpid() or not OF_THE_SESSION.exists():
        return  # a session that others are part of is not ours to slow down
    for _ in range(TRIES):
        try:
            OF_THE_SESSION.write_text(str(NICENESS))
        except BlockingIOError:
            sleep(AGAIN_SECONDS)
        except OSError:
            return  # a system that does not let us: a courtesy is nothing to die for
        else:
            return
