"""An export against itself: the manifest, each file, and of facts every leaf, block and chain, up to the signed note.

Nothing but the folders is read. The note in an export covers its facts when the chain of each shard leads from the
block before to the end that the note names. That may lie a little after the last fact; then blocks lead there.

A part of one team, or one that begins or ends within a block, has no chain: of it each leaf is checked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.audit.anchors import parse_anchor
from services.audit.checkpoints import NoteInvalid, hash_from, signer_of
from services.audit.notes.chain_check import ChainCheck, Growth
from services.audit.notes.note_walk import UNKNOWN_KEY
from services.audit.notes.vectors import EMPTY_SHARD
from services.audit.sign_log import ShardEnd, Signed
from services.audit.verdict import LogProblem, Verified
from services.audit.verify import OnFacts
from services.audit.walk import CHANGED, MISSING, Finding, StoredBlock, Walk
from services.export.exporting import BLOCKS
from services.export.files import FileFormat
from services.export.folders import ExportFolder, contents
from services.export.manifest import ManifestInvalid, ShardSpan
from services.export.parquet import check_parquet
from services.export.tables import BLOCK_COLUMNS, EVENT_COLUMNS, EVENTS
from services.runtime.long_work.cores import on_every_core
from services.store.copying import microseconds
from services.store.proofs import GENESIS, block_hash, leaf_of, pack_known, pack_place
from services.store.shards import SHARDS

SAID_MAX = 100  # of facts without a chain
CUT = "these facts were asked for, and the export leaves them out"


@dataclass(slots=True)
class ExportsChecked:
    """What was found, and where the chain of each shard ends: the last position and its hash."""

    verified: Verified
    ends: dict[int, ShardEnd] = field(default_factory=dict)


def check_exports(
    folders: Sequence[Path],
    keys: Sequence[Ed25519PublicKey] = (),
    *,
    unsigned: bool = False,
    on_facts: OnFacts = lambda _: None,
) -> ExportsChecked:
    """Check exports, and that those of facts follow each other without a gap.

    `unsigned`: no note is asked for.

    Raises:
        Refused: Parquet is to be read and pyarrow is missing.
        ChildKilled: a process that checked a shard is gone.
    """
    checked = ExportsChecked(Verified(signatures_checked=bool(keys)))
    exports = []
    for folder in folders:
        try:
            exports.append(ExportFolder.read(folder))
        except (ManifestInvalid, OSError) as error:
            checked.verified.problems.append(LogProblem(str(folder), f"its manifest: {error}"))
    exports.sort(key=ExportFolder.order)
    for export in exports:
        checked.verified.problems += contents(export)
        if export.manifest.request.what == EVENTS.name:
            _Facts(export, keys, checked, on_facts).check(unsigned=unsigned)
    chained = [export for export in exports if export.manifest.request.what == EVENTS.name]
    for before, after in pairwise(chained):
        checked.verified.problems += before.gaps(after)
    return checked


@dataclass(slots=True)
class _Facts:
    """The check of one export of facts."""

    export: ExportFolder
    keys: Sequence[Ed25519PublicKey]
    checked: ExportsChecked
    on_facts: OnFacts

    def check(self, *, unsigned: bool) -> None:
        manifest, verified = self.export.manifest, self.checked.verified
        if manifest.request.file_format is FileFormat.PARQUET:
            check_parquet()
        signed = self._note(unsigned=unsigned)
        self._whole(signed)
        check = partial(check_shard, self.export, signed)
        with on_every_core(check, manifest.shards, manifest.rows, name=shard_name) as shards:
            for span, shard in zip(manifest.shards, shards, strict=True):
                verified.facts, verified.blocks = verified.facts + shard.facts, verified.blocks + shard.blocks
                verified.signed, verified.more = verified.signed + shard.signed, verified.more + shard.more
                verified.problems += shard.problems
                if shard.end is not None:
                    self.checked.ends[span.shard] = shard.end
                self.on_facts(shard.facts)

    def _whole(self, signed: Signed | None) -> None:
        """Does the manifest speak of all that was asked for?"""
        request, spans = self.export.manifest.request, self.export.spans
        of_one_shard = any(text is not None and text.count(":") == 1 for text in (request.since, request.until))
        if request.team is None and not of_one_shard:
            for shard in sorted(set(range(SHARDS)) - spans.keys()):
                self._problem(f"{self.export.name}, shard {shard}", "the manifest says nothing of it")
        for shard, span in sorted(spans.items()):
            if request.since is None and span.first != 1:
                self._problem(Finding(shard, 1, span.first - 1, "").place, CUT)
            noted = EMPTY_SHARD if signed is None else signed.vector.shards.get(shard, EMPTY_SHARD)
            if request.until is None and span.last < noted.last:
                self._problem(Finding(shard, span.last + 1, noted.last, "").place, CUT)

    def _note(self, *, unsigned: bool) -> Signed | None:
        """The note of the export, and who signed it."""
        verified, text = self.checked.verified, self.export.manifest.note
        if text is None:
            if not unsigned and any(span.last >= span.first for span in self.export.manifest.shards):
                self._problem(self.export.name, "there are facts and no signed checkpoint")
            return None
        try:
            signed = parse_anchor(text)
        except NoteInvalid as invalid:
            self._problem(f"{self.export.name}, note", str(invalid))
            return None
        if signed.checkpoint.origin != self.export.manifest.log:
            self._problem(f"{self.export.name}, note", f"it is of another log, {signed.checkpoint.origin}")
            return None
        verified.checkpoints += 1
        verified.signed_by = signer_of(signed.note, self.keys)
        if self.keys and verified.signed_by is None:
            self._problem(f"{self.export.name}, note", UNKNOWN_KEY)
        verified.signed_at = signed.vector.signed_at
        return signed

    def _problem(self, place: str, what: str) -> None:
        self.checked.verified.problems.append(LogProblem(place, what))


@dataclass(slots=True)
class ShardChecked:
    """What was found of one shard: as in `Verified`, and where its chain ends, if it has one."""

    facts: int = 0
    blocks: int = 0
    signed: int = 0
    problems: list[LogProblem] = field(default_factory=list)
    more: int = 0
    end: ShardEnd | None = None


def shard_name(span: ShardSpan) -> str:
    """What a person knows it by."""
    return f"shard {span.shard}"


def check_shard(export: ExportFolder, signed: Signed | None, span: ShardSpan) -> ShardChecked:
    """One shard of an export of facts, by itself."""
    check = _ShardCheck(export, span)
    try:
        check.check(signed)
    except (ValueError, OSError, TypeError, AttributeError, OverflowError) as error:
        check.problem(f"{export.name}, shard {span.shard}", f"its files can't be read ({error})")
    return check.result


@dataclass(slots=True)
class _ShardCheck:
    """The check of one shard."""

    export: ExportFolder
    span: ShardSpan
    result: ShardChecked = field(default_factory=ShardChecked)

    def check(self, signed: Signed | None) -> None:
        span = self.span
        if self.export.manifest.request.team is not None or span.before is None or span.head is None:
            self._leaves()
            return
        before, head = hash_from(span.before), hash_from(span.head)
        hashes = self._walk(before, head, signed)
        self.result.end = ShardEnd(span.last, head)
        if signed is None:
            return
        in_note = signed.vector.shards.get(span.shard, EMPTY_SHARD)
        if in_note.last >= max(1, span.first - 1):  # else it was signed before all of these
            growth = Growth(f"checkpoint {signed.number}", signed.vector.signed_at, span.shard, in_note)
            chain = ChainCheck({span.shard: max(hashes)}, agreed={span.shard: span.first - 1})
            chain.head(growth, hashes.get(in_note.last))
            self.result.problems += chain.problems
        self.result.signed = min(max(in_note.last - span.first + 1, 0), span.last - span.first + 1)

    def _walk(self, before: bytes, head: bytes, signed: Signed | None) -> dict[int, bytes]:
        """Walk over it; the hashes where the note may say how the shard ends."""
        span, shard = self.span, self.span.shard
        walk = Walk(shard) if span.first == 1 and before == GENESIS else Walk.after(shard, span.first - 1, before)
        blocks = (StoredBlock(*row[1:]) for row in self._rows(BLOCKS))
        noted = span.last if signed is None else signed.vector.shards.get(shard, EMPTY_SHARD).last
        hashes = {span.first - 1: before, span.last: head} if span.last >= span.first else {span.last: head}

        def give(block: StoredBlock) -> StoredBlock | None:
            walk.block(block)
            self.result.blocks += 1
            if block.last == noted:
                hashes[noted] = block.hash
            return next(blocks, None)

        block = next(blocks, None)
        for row in self._rows(EVENTS.name):
            while block is not None and block.first <= row[1] and block.last <= span.last:
                block = give(block)
            walk.fact(row[1], packed_row(row), row[-1] or b"")
        while block is not None and block.last <= span.last:
            block = give(block)
        self.result.problems += _problems(walk.end(span.last, head))
        self.result.facts, self.result.more = walk.facts, walk.more
        if span.first == 1 and before != GENESIS:
            self.problem(f"{shard}:1", "its manifest has facts before the first one")
        end = ShardEnd(span.last, head)
        while block is not None and block.first == end.last + 1 and _links(shard, end, block):
            end = ShardEnd(block.last, block.hash)
            hashes[end.last] = end.hash
            block = next(blocks, None)
        return hashes

    def _leaves(self) -> None:
        span, of_team = self.span, self.export.manifest.request.team is not None
        findings, expected = [], span.first
        for row in self._rows(EVENTS.name):
            self.result.facts += 1
            position = row[1]
            if leaf_of(packed_row(row)) != row[-1]:
                findings.append(Finding(span.shard, position, position, CHANGED))
            if position < expected or (position > expected and not of_team):
                findings.append(Finding(span.shard, expected, max(expected, position - 1), MISSING))
            expected = position + 1
        if expected <= span.last and not of_team:
            findings.append(Finding(span.shard, expected, span.last, MISSING))
        self.result.problems += _problems(findings[:SAID_MAX])
        self.result.more = len(findings[SAID_MAX:])

    def _rows(self, table: str) -> Iterator[Any]:
        columns = EVENT_COLUMNS if table == EVENTS.name else BLOCK_COLUMNS
        return self.export.rows(table, columns, self.span.shard)

    def problem(self, place: str, what: str) -> None:
        self.result.problems.append(LogProblem(place, what))


def packed_row(row: Any) -> bytes:
    """The bytes of a fact, of which its leaf is made; what is NULL fits none."""
    shard, position, recorded_at, occurred_at, team_id, source, fact_id, fact_type, body, _ = row
    if None in row[:9]:
        return b""
    return pack_place(shard, position, microseconds(recorded_at)) + pack_known(
        occurred_at, team_id, source, fact_id, fact_type, body
    )


def _links(shard: int, end: ShardEnd, block: StoredBlock) -> bool:
    return block_hash(shard, block.first, block.last, end.hash, block.root) == block.hash


def _problems(findings: Sequence[Finding]) -> list[LogProblem]:
    return [LogProblem(finding.place, finding.what) for finding in findings]
