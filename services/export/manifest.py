"""What an export says of itself: what was asked, which part of the log it is, and what is in each of its files."""

import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from schemas.credits import MicroCredits, format_credits
from services.export.files import FileDigest, FileFormat
from services.runtime.long_work.whole_files import write_whole

FORMAT = "creditwell export 1"
MANIFEST, UNFINISHED = "manifest.json", "unfinished.json"
WROTE = ("creditwell", "pyarrow")


class ManifestInvalid(ValueError):
    """A file is no manifest of ours, with what is wrong with it."""


class ExportRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an export was asked for; instants in RFC 3339, places as `shard:position`.

    Attributes:
        what: events, entries or balances; analytics for views of analysts.
        file_format: of its tables.
        since: only what was recorded from here on.
        until: only what was recorded before.
        team: only this team's.
        at: balances at this instant, those known at `known_at`.
        month: it is the archive of this month.
        views: these views of analysts; all of them where none is named.
    """

    what: str
    file_format: FileFormat
    since: str | None = msgspec.field(default=None, name="from")
    until: str | None = None
    team: str | None = None
    at: str | None = None
    known_at: str | None = None
    month: str | None = None
    views: tuple[str, ...] = ()


class ShardSpan(msgspec.Struct, frozen=True):
    """The part of a shard that is exported: from position `first` to `last`, nothing where `last` is `first - 1`.

    `before` is the hash of the block before, and `head` that of the last one, in base64; None where the part begins or
    ends within a block.
    """

    shard: int
    first: int
    last: int
    before: str | None
    head: str | None


class Sums(msgspec.Struct):
    """What the rows of an export come to: micro-credits, and minor units of money by currency."""

    rows: int = 0
    credits: MicroCredits = 0
    money: dict[str, int] = {}

    def add(self, other: "Sums") -> None:
        """And those."""
        self.rows += other.rows
        self.credits += other.credits
        self.money = dict(sorted((Counter(self.money) + Counter(other.money)).items()))


class Manifest(msgspec.Struct):
    """`manifest.json`. `note` is the text of the anchor of a signed checkpoint; see docs/log-format.md."""

    format: str
    log: str
    request: ExportRequest
    made_at: str
    shards: list[ShardSpan]
    note: str | None
    rows: int = 0
    credits: str | None = None
    money: dict[str, int] | None = None
    files: list[FileDigest] = []
    versions: dict[str, str] = {}


class UnfinishedExport(msgspec.Struct):
    """How far an export is: the shards that are done, what is in their files, and the sums so far."""

    manifest: Manifest
    done: list[int] = []
    sums: Sums = msgspec.field(default_factory=Sums)


def versions() -> dict[str, str]:
    """What writes here."""
    installed = {"python": platform.python_version()}
    for name in WROTE:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def save(folder: Path, manifest: Manifest) -> None:
    """Write the manifest: the export is complete."""
    write_whole(folder / MANIFEST, _pretty(manifest))
    (folder / UNFINISHED).unlink(missing_ok=True)


def save_unfinished(folder: Path, unfinished: UnfinishedExport) -> None:
    """Write how far it is."""
    write_whole(folder / UNFINISHED, _pretty(unfinished))


def _pretty(document: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def is_export(folder: Path) -> bool:
    """Whether an export is complete there."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an export.

    Raises:
        ManifestInvalid: it is none.
        OSError: it can't be read.
    """
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (ValueError, RecursionError) as error:
        message = f"it is no manifest of an export ({error})"
        raise ManifestInvalid(message) from error
    if manifest.format != FORMAT:
        message = f"it is no {FORMAT!r}"
        raise ManifestInvalid(message)
    return manifest


def read_unfinished(folder: Path) -> UnfinishedExport | None:
    """How far an export is that was begun and not finished.

    Raises:
        ManifestInvalid: the file that says so can't be read.
    """
    try:
        return msgspec.json.decode((folder / UNFINISHED).read_bytes(), type=UnfinishedExport)
    except FileNotFoundError:
        return None
    except ValueError as error:
        message = f"{UNFINISHED} can't be read ({error}): empty the folder and start again"
        raise ManifestInvalid(message) from error


def complete(unfinished: UnfinishedExport, *, has_credits: bool, has_money: bool) -> Manifest:
    """The manifest of an export all of whose shards are done."""
    manifest, sums = unfinished.manifest, unfinished.sums
    manifest.rows = sums.rows
    manifest.credits = format_credits(sums.credits) if has_credits else None
    manifest.money = sums.money if has_money else None
    manifest.files.sort(key=lambda file: file.path)
    manifest.versions = versions()
    return manifest
