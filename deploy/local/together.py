"""Several slow steps at once."""

import threading
from collections.abc import Callable
from queue import SimpleQueue


def together(*steps: Callable[[], object]) -> None:
    """Run every step in a thread of its own; the first failure is raised at once, while the others may still run.

    Daemon threads and no executor: whoever gives up, by Ctrl-C for instance, does not wait for a download.
    """
    results: SimpleQueue[BaseException | None] = SimpleQueue()

    def run(step: Callable[[], object]) -> None:
        try:
            step()
        except BaseException as failure:  # raised again below, in the thread that waits
            results.put(failure)
        else:
            results.put(None)

    for step in steps:
        threading.Thread(target=run, args=(step,), daemon=True).start()
    for _ in steps:
        if failure := results.get():
            raise failure
