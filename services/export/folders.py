"""A folder with an export in it: its manifest, and whether its files are those that the manifest names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from schemas.places import Place
from services.audit.verdict import LogProblem
from services.audit.walk import Finding
from services.export.columns import ExportedColumn, Row
from services.export.files import FileDigest, digest_of, read_rows
from services.export.manifest import MANIFEST, Manifest, ManifestInvalid, ShardSpan, is_export, read_manifest

NOT_HERE = "these facts are in none of the folders"
ANOTHER_PAST = "the facts after it follow from other ones: the two are not of one log, or one was rewritten"


@dataclass(frozen=True, slots=True)
class ExportFolder:
    """An export."""

    folder: Path
    manifest: Manifest
    spans: dict[int, ShardSpan]

    @classmethod
    def read(cls, folder: Path) -> "ExportFolder":
        """The export in a folder.

        Raises:
            ManifestInvalid, OSError: as `read_manifest`; or it names a file outside the folder.
        """
        manifest = read_manifest(folder)
        for file in manifest.files:
            path = PurePosixPath(file.path)
            if path.is_absolute() or ".." in path.parts:
                message = f"it names a file outside the folder, {file.path}"
                raise ManifestInvalid(message)
        return cls(folder, manifest, {span.shard: span for span in manifest.shards})

    @property
    def name(self) -> str:
        """How findings call it."""
        return str(self.folder)

    @property
    def month(self) -> str | None:
        """Of which month it is the archive, if it is one."""
        return self.manifest.request.month

    def order(self) -> tuple[int, int, str]:
        """Where it stands among others of the same log; months in which nothing was recorded stand at one place."""
        spans = self.spans.values()
        return sum(span.first for span in spans), sum(span.last for span in spans), self.month or ""

    def files(self, table: str, shard: int) -> list[FileDigest]:
        """Those of a table and a shard, in the order of their months."""
        name = f"shard-{shard:02d}.{self.manifest.request.file_format}"
        return sorted(
            (
                file
                for file in self.manifest.files
                if file.path.startswith(f"{table}/") and file.path.endswith(f"/{name}")
            ),
            key=lambda file: file.path,
        )

    def rows(self, table: str, columns: Sequence[ExportedColumn], shard: int) -> Iterator[Row]:
        """The rows of a table and a shard, in their order. Raises as `read_rows`."""
        for file in self.files(table, shard):
            for page in read_rows(self.folder / file.path, columns):
                yield from page

    def gaps(self, after: "ExportFolder") -> list[LogProblem]:
        """Why another one does not go on where this one ends."""
        if self.manifest.log != after.manifest.log:
            return [LogProblem(after.name, f"it is of another log, {after.manifest.log}")]
        if self.month is not None and after.month is not None and next_month(self.month) < after.month:
            missing = [next_month(self.month)]
            while (month := next_month(missing[-1])) < after.month:
                missing.append(month)
            return [LogProblem(month, "there is no archive of this month") for month in missing]
        problems = []
        for shard, span in after.spans.items():
            end = self.spans.get(shard)
            if end is None:
                continue
            if span.first > end.last + 1:
                problems.append(LogProblem(Finding(shard, end.last + 1, span.first - 1, "").place, NOT_HERE))
            elif span.first < end.last + 1:
                problems.append(
                    LogProblem(str(Place(shard, span.first)), f"{after.name} begins before {self.name} ends")
                )
            elif span.before != end.head:
                problems.append(LogProblem(str(Place(shard, max(1, end.last))), ANOTHER_PAST))
        return problems


def next_month(month: str) -> str:
    """`2027-01` after `2026-12`."""
    year, number = map(int, month.split("-"))
    return f"{year + number // 12:04d}-{number % 12 + 1:02d}"


def exports_in(folder: Path) -> list[Path]:
    """The exports of a folder: itself, or those one below it, as the archives of some months are."""
    if is_export(folder) or not folder.is_dir():
        return [folder]
    return sorted(below for below in folder.iterdir() if is_export(below)) or [folder]


def contents(export: ExportFolder) -> list[LogProblem]:
    """What is wrong with the files of an export: one is missing, not what was written, or nobody's."""
    problems, named = [], {MANIFEST}
    for file in export.manifest.files:
        named.add(file.path)
        what = _what_is_wrong(export.folder, file)
        if what is not None:
            problems.append(LogProblem(f"{export.name}/{file.path}", what))
    present = {path.relative_to(export.folder).as_posix() for path in export.folder.rglob("*") if not path.is_dir()}
    problems += [
        LogProblem(f"{export.name}/{path}", "the manifest does not name this file") for path in sorted(present - named)
    ]
    rows = sum(file.rows for file in export.manifest.files if file.path.startswith(f"{export.manifest.request.what}/"))
    if rows != export.manifest.rows:
        problems.append(
            LogProblem(f"{export.name}/{MANIFEST}", f"it says {export.manifest.rows} rows, its files {rows}")
        )
    return problems


def _what_is_wrong(folder: Path, file: FileDigest) -> str | None:
    try:
        with (folder / file.path).open("rb") as opened:
            digest = digest_of(opened)
            size = opened.tell()
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        return f"it can't be read ({error})"
    return (
        None if (size, digest) == (file.size, file.sha256) else "it is not what was written: its SHA-256 is another one"
    )
