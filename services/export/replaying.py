"""Archives folded, shard by shard: by one process, or by any engine that maps `fold_files` over the files of shards.

The fold is that of everything else; docs/replay-at-scale.md has it on Spark and on Ray.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from projections.columns import BALANCES, ShardFold, fold_shard
from schemas.credits import MicroCredits
from schemas.facts import Stored
from services.audit.derived import UNFOLDABLE
from services.audit.verdict import LogProblem
from services.export.files import FileFormat, read_rows
from services.export.folders import ExportFolder
from services.export.manifest import ManifestInvalid
from services.export.parquet import check_parquet, pyarrow
from services.export.tables import EVENT_COLUMNS, EVENTS
from services.runtime.errors import Refused
from services.runtime.long_work.cores import on_every_core
from services.store.shards import SHARDS

FACT_FIELDS = len(Stored._fields)
PROBLEMS_MAX = 1_000

OnFacts = Callable[[int], None]


@dataclass(slots=True)
class FoldedArchives:
    """What archives say: how many facts and teams, credits and entries by kind, all balances, and what is wrong."""

    facts: int = 0
    teams: int = 0
    entries: Counter[str] = field(default_factory=Counter)
    credits: Counter[str] = field(default_factory=Counter)
    balances: MicroCredits = 0
    problems: list[LogProblem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Archives:
    """Archives that follow each other from the first fact of each shard on."""

    exports: Sequence[ExportFolder]

    @classmethod
    def read(cls, folders: Sequence[Path]) -> "Archives":
        """The archives in these folders, in the order of the log.

        Raises:
            Refused: `wrong_archives`, one can't be read, a month is missing, or they do not begin with the first fact.
        """
        try:
            exports = [ExportFolder.read(folder) for folder in folders]
        except (ManifestInvalid, OSError) as error:
            raise Refused("wrong_archives", str(error)) from error
        exports.sort(key=ExportFolder.order)
        for export in exports:
            if export.manifest.request.what != EVENTS.name or export.manifest.request.team is not None:
                raise Refused("wrong_archives", f"{export.name} does not hold all facts")
        late = [span for export in exports[:1] for span in export.spans.values() if span.first > 1]
        if not exports or late:
            raise Refused(
                "wrong_archives", "they do not begin with the first fact of each shard: months are missing before"
            )
        for before, after in pairwise(exports):
            for problem in before.gaps(after)[:1]:
                raise Refused("wrong_archives", f"{problem.place}: {problem.what}")
        return cls(exports)

    @property
    def digest(self) -> str:
        """SHA-256 of what their manifests say."""
        return sha256(msgspec.json.encode([export.manifest for export in self.exports])).hexdigest()

    def facts(self, shard: int) -> Iterator[list[Stored]]:
        """The facts of a shard, page by page. Raises as `read_rows`."""
        for export in self.exports:
            for file in export.files(EVENTS.name, shard):
                for page in read_rows(export.folder / file.path, EVENT_COLUMNS):
                    yield [Stored._make(row[:FACT_FIELDS]) for row in page]


def fold_archives(archives: Archives, on_facts: OnFacts = lambda _: None) -> FoldedArchives:
    """Fold all shards; what can't be read or taken is a problem with its place, and the fold goes on without it.

    Raises:
        Refused: Parquet is to be read and pyarrow is missing.
        ChildKilled: a process that folded a shard is gone.
    """
    if any(export.manifest.request.file_format is FileFormat.PARQUET for export in archives.exports):
        check_parquet()
    rows = sum(export.manifest.rows for export in archives.exports)
    folded = FoldedArchives()
    with on_every_core(partial(fold_of_shard, archives), range(SHARDS), rows, name="shard {}".format) as shards:
        for shard in shards:
            folded.facts, folded.teams = folded.facts + shard.facts, folded.teams + shard.teams
            folded.balances += shard.balances
            folded.entries.update(shard.entries)
            folded.credits.update(shard.credits)
            folded.problems += shard.problems[: PROBLEMS_MAX - len(folded.problems)]
            on_facts(shard.facts)
    return folded


def fold_of_shard(archives: Archives, shard: int) -> FoldedArchives:
    """Fold one shard, as `fold_archives` folds all."""
    folded, fold = FoldedArchives(), ShardFold()
    try:
        for page in archives.facts(shard):
            for stored in page:
                _take(fold, stored, folded)
            folded.facts += len(page)
    except (ValueError, OSError, TypeError, OverflowError) as error:
        _problem(folded, f"shard {shard}", f"its files can't be read ({error})")
    folded.teams = len(fold.teams)
    folded.balances = sum(team.total for team in fold.teams.values())
    return folded


def _take(fold: ShardFold, stored: Stored, folded: FoldedArchives) -> None:
    try:
        entries = fold.take(stored)
    except UNFOLDABLE as error:
        _problem(folded, stored.place, f"it can't be folded ({error!r})"[:500])
        return
    for entry in entries:
        folded.entries[entry.kind] += 1
        folded.credits[entry.kind] += entry.credits


def _problem(folded: FoldedArchives, place: str, what: str) -> None:
    if len(folded.problems) < PROBLEMS_MAX:
        folded.problems.append(LogProblem(place, what))


def fold_table(table: Any) -> Any:
    """The same of an Arrow table with all facts of one shard, in any order: what Spark maps over groups.

    Raises:
        As `fold_shard`; Refused: pyarrow is missing.
    """
    arrow = pyarrow()
    rows = table.select(list(Stored._fields)).sort_by("position").to_pydict()
    types = {"team_id": arrow.string(), "as_of": arrow.timestamp("us", tz="UTC")}
    schema = arrow.schema([arrow.field(name, types.get(name, arrow.int64())) for name in BALANCES])
    return arrow.table(fold_shard([rows]), schema)


def fold_files(files: Sequence[str]) -> dict[str, list[Any]]:
    """The balances after all facts in the files of one shard, in the order of their months.

    Raises:
        As `read_rows` and `fold_shard`.
    """
    names = [column.name for column in EVENT_COLUMNS]
    pages = (page for file in files for page in read_rows(Path(file), EVENT_COLUMNS) if page)
    return fold_shard(dict(zip(names, zip(*page, strict=True), strict=True)) for page in pages)
