"""Work that is done piece by piece, on all cores."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from services.runtime.long_work.children import Child, first_ready

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")

WORTH_IT = 100_000  # rows: with fewer, starting the processes takes longer than the work


def cores_for(rows: int) -> int:
    """How many processes so much work is worth: one to a core, or this one alone."""
    return 1 if rows < WORTH_IT else os.cpu_count() or 1


@contextmanager
def on_every_core(
    work: Callable[[Item], Outcome], items: Sequence[Item], rows: int, *, name: Callable[[Item], str] = str
) -> Iterator[Iterator[Outcome]]:
    """What becomes of each item, in their order; so many rows are in all of them.

    As `as_they_end`. Outcomes that wait for others are held in memory.
    """
    with as_they_end(work, items, cores_for(rows), name=name) as outcomes:
        yield _in_order(outcomes)


@contextmanager
def as_they_end(
    work: Callable[[Item], Outcome], items: Sequence[Item], processes: int, *, name: Callable[[Item], str] = str
) -> Iterator[Iterator[tuple[int, Outcome]]]:
    """The number of each item and what becomes of it, as it comes: by this process, or by so many of its children.

    `work` and what goes in and out is pickled, exceptions too. Whoever leaves ends the children.

    Raises:
        ChildKilled: one of them is gone. It says which one, and at what `name` of an item.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        yield enumerate(map(work, items))
        return
    children: list[Child] = []
    at_once = True
    try:
        for _ in range(processes):
            children.append(Child(work))  # noqa: PERF401 - each is ended, wherever this ends
        yield _outcomes(children, items, name)
        at_once = False
    finally:
        for child in children:
            child.stop(at_once=at_once)


def _outcomes(
    children: list[Child], items: Sequence[Item], name: Callable[[Item], str]
) -> Iterator[tuple[int, Outcome]]:
    """Each child gets the next item as soon as it is free."""
    rest, at_work = iter(enumerate(items)), dict[Child, int]()

    def begin(child: Child) -> None:
        for number, item in rest:
            at_work[child] = number
            child.begin(item, name(item))
            return

    for child in children:
        begin(child)
    while at_work:
        child = first_ready(list(at_work))
        number, outcome = at_work.pop(child), child.outcome()
        begin(child)
        yield number, outcome


def _in_order(outcomes: Iterator[tuple[int, Outcome]]) -> Iterator[Outcome]:
    early: dict[int, Outcome] = {}
    following = 0
    for number, outcome in outcomes:
        early[number] = outcome
        while following in early:
            yield early.pop(following)
            following += 1
