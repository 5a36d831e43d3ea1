"""One seed after the other: each is told, and what dies of its own is broken as well, and ends no other."""

import traceback
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.markup import escape

DIED_CHARACTERS = 4_000


def play_seeds(
    seeds: Sequence[int],
    play: Callable[[int], list[str]],
    console: Console,
    *,
    option: str,
    what: Callable[[int], str],
    well: str,
) -> int:
    """The exit code: 1 where any seed went wrong.

    Args:
        play: what went wrong with a seed; nothing where all was well.
        option: of `make faults`, with which to play one again.
        what: what happened at a seed.
        well: what held where nothing went wrong.
    """
    broken = 0
    for number, seed in enumerate(seeds, 1):
        try:
            wrong = play(seed)
        except Exception:
            wrong = [traceback.format_exc()[-DIED_CHARACTERS:]]
        broken += bool(wrong)
        verdict = f"[red]BROKEN[/] {escape('; '.join(wrong))}" if wrong else well
        console.print(f"{number:4}/{len(seeds)}  seed {seed}  {what(seed)}: {verdict}")
    if broken:
        console.print(f"again: make faults ARGS='{option} --seed … --count 1'", markup=False)
    return 1 if broken else 0
