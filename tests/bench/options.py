"""What the bench is asked for: its parts, its sizes, and what can't be measured without what."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.workload import TEAMS

IN_ROUNDS = ("copy", "record", "visible", "relay", "replay")
AFTERWARDS = (
    "idle", "latency", "charging", "quantities", "growth", "audit", "questions", "balance", "holds", "large", "neighbour",
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    events: int
    rounds: int
    growth: int
    hot_team: int
    large_team: int
    teams: int
    uuid4: bool
    half_of: str
    only: frozenset[str]
    as_json: bool


def options(arguments: Sequence[str]) -> Options:
    """From the command line; ends the process with code 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="make bench", description="Measure Creditwell on this machine, against a plain COPY of the same rows."
    )
    parser.add_argument("--events", type=_count, default=300_000, help="in each backlog (300,000)")
    parser.add_argument("--rounds", type=_count, default=3, help="of which the median counts (3)")
    parser.add_argument("--growth", type=_count, default=1_000_000, help="facts stored before `growth` (1,000,000)")
    parser.add_argument(
        "--hot-team", type=_count, default=100_000, help="of those, facts of the largest team (100,000)"
    )
    parser.add_argument(
        "--large-team", type=_count, default=1_000_000, help="facts of the team whose history `large` reads (1,000,000)"
    )
    parser.add_argument("--teams", type=_count, default=TEAMS, help=f"that report usage ({TEAMS})")
    parser.add_argument("--uuid4", action="store_true", help="`growth` with random ids, too")
    parser.add_argument(
        "--half-of",
        choices=("visible", "record"),
        default="visible",
        help="how fast usage arrives while balances are read: half of the speed of `visible`, which recorders and projector"
        " sustain together (default), or of `record`, with which a projector beside them may not keep up",
    )
    parser.add_argument("--only", type=_parts, default=frozenset((*IN_ROUNDS, *AFTERWARDS)), metavar="PARTS",
                        help=f"some of {','.join((*IN_ROUNDS, *AFTERWARDS))}")  # fmt: skip
    parser.add_argument("--json", action="store_true", dest="as_json", help="nothing but the JSON on standard output")
    wanted = Options(**vars(parser.parse_args(arguments)))
    if lacks := missing(wanted):
        parser.error(lacks)
    return wanted


def missing(wanted: Options) -> str | None:
    """What can't be measured, because nobody measures what it takes; None where all can."""
    needs = {
        "balance": wanted.half_of,
        "holds": wanted.half_of,
        "neighbour": "large",
        "audit": "growth",
        "questions": "growth",
    }
    for part, needed in needs.items():
        if part in wanted.only and needed not in wanted.only:
            return f"`{part}` needs what `{needed}` finds; add it: --only {needed},{part}"
    if wanted.uuid4 and "growth" not in wanted.only:
        return "`--uuid4` is about `growth`; add it to --only"
    return None


def _count(text: str) -> int:
    count = int(text.replace(",", "").replace("_", ""))
    if count < 1:
        raise argparse.ArgumentTypeError("write a number of at least 1")
    return count


def _parts(text: str) -> frozenset[str]:
    parts = frozenset(text.split(","))
    if unknown := parts - {*IN_ROUNDS, *AFTERWARDS}:
        raise argparse.ArgumentTypeError(f"there is no part {', '.join(sorted(unknown))}")
    return parts
