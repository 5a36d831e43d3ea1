"""Work that is done shard by shard, on all cores."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

WORTH_IT = 100_000  # rows: with fewer, starting the processes takes longer than the work


@contextmanager
def on_every_core(work: Callable[[Item], Outcome], items: Sequence[Item], rows: int) -> Iterator[Iterator[Outcome]]:
    """What becomes of each item, in their order; so many rows are in all of them.

    `work` and what goes in and out is pickled, exceptions too. Results that wait for others are held in memory.
    """
    cores = min(os.cpu_count() or 1, len(items))
    if cores == 1 or rows < WORTH_IT:
        yield map(work, items)
        return
    with ProcessPoolExecutor(cores, get_context("spawn"), initializer=_keep_small) as pool:
        try:
            yield pool.map(work, items)
        finally:
            pool.shutdown(cancel_futures=True)


def _keep_small() -> None:
    """Each process has its own pyarrow, whose own allocator keeps what was freed: some 50 MB."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
