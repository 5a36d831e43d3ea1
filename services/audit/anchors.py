"""Anchors: copies of signed notes in a folder outside the database, each with what it says of every shard.

Whoever rewrites the database, or restores an old backup of it, does not rewrite these. Best on storage that keeps what
it was given (object lock), mounted as a folder. So the folder is known by what is in it, an anchor of this log or an
empty file with its name, and never made anew: where its mount is lost, anchors would go to a disk that nobody keeps. A
file is named after its note, so names sort as the notes do:

    creditwell anchor 1                   the number of this format
    time 2026-11-23T10:15:30.123456Z
    unpublished                           only where the leaf says so
    shard 31 20418 <head> <blocks>        of each shard that has facts

    c2sp.org/tlog-proof@v1                from here on a proof in C2SP's format: the vector's leaf is the last one
    index 20418
    <base64>                              the path of that leaf

    creditwell/<log>                      and the note
    …
"""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from schemas.instants import instant
from services.audit.checkpoints import NoteInvalid, base64_of, hash_from, parse
from services.audit.notes.tree import root_of_path
from services.audit.notes.vectors import Vector, line_of, parse_line
from services.audit.sign_log import Signed
from services.runtime.crashpoints import crashpoint

SUFFIX = ".anchor"
OF_LOG = "log-"  # begins the name of the file that says of which log the folder is
FORMAT = "creditwell anchor 1"
PROOF = "c2sp.org/tlog-proof@v1"


def text_of_anchor(signed: Signed, path: Sequence[bytes]) -> str:
    """The anchor of a note; `path` proves that its vector is the last leaf."""
    vector = signed.vector
    lines = [FORMAT, f"time {instant(vector.signed_at)}", *(["unpublished"] if vector.unpublished else [])]
    lines += (f"shard {line_of(shard, of_shard)}" for shard, of_shard in sorted(vector.shards.items()))
    lines += ("", PROOF, f"index {signed.number - 1}", *map(base64_of, path), "", signed.note)
    return "\n".join(lines)


def note_of(anchor: str) -> str:
    """The note of an anchor, unread."""
    return anchor.partition(f"\n\n{PROOF}\n")[2].partition("\n\n")[2]


def parse_anchor(anchor: str) -> Signed:
    """The note of an anchor and its vector; the signature is for `signer_of`.

    Raises:
        NoteInvalid: it is malformed, or its vector is not the last leaf of its note.
    """
    head, _, proof = anchor.partition(f"\n\n{PROOF}\n")
    lines, path = head.split("\n"), proof.partition("\n\n")[0].split("\n")
    note = note_of(anchor)
    checkpoint = parse(note)
    unpublished = lines[2:3] == ["unpublished"]
    try:
        shards = dict(parse_line(line.removeprefix("shard ")) for line in lines[3 if unpublished else 2 :])
        vector = Vector(datetime.fromisoformat(lines[1].removeprefix("time ")), unpublished, shards)
        hashes = [hash_from(line) for line in path[1:]]
        root = root_of_path(vector.leaf_hash, checkpoint.size - 1, checkpoint.size, hashes)
        exact = text_of_anchor(Signed(checkpoint, vector, note), hashes)
    except (ValueError, IndexError) as error:
        message = f"it is no anchor of a Creditwell log ({error})"
        raise NoteInvalid(message) from error
    if anchor != exact or root != checkpoint.root:
        message = "what it says of the shards is not what its note signs"
        raise NoteInvalid(message)
    return Signed(checkpoint, vector, note)


class NotTheFolder(OSError):
    """What is there is not known as the folder of this log's anchors: its mount is lost, or it is a new one."""


def begin_folder(folder: Path, log: str) -> None:
    """Say in a folder of which log it is. Raises OSError: it is not there, or can't be written."""
    (folder / f"{OF_LOG}{log}").touch()
    _keep_names(folder)


def anchors_of_log(folder: Path, log: str) -> list[Path]:
    """The anchors of the folder, oldest first; of which log they are, they say themselves.

    Raises:
        NotTheFolder: it has neither an anchor nor the name of this log.
        OSError: it can't be read.
    """
    there = list(folder.iterdir())  # `glob` finds nothing in a folder that is not there
    files = sorted(file for file in there if file.suffix == SUFFIX)
    if not files and folder / f"{OF_LOG}{log}" not in there:
        message = (
            f"{folder} has no anchor of this log: its mount is lost. Or it is a new one: touch {folder}/{OF_LOG}{log}"
        )
        raise NotTheFolder(message)
    return files


def write_anchor(folder: Path, signed: Signed, path: Sequence[bytes]) -> Path:
    """Put an anchor into the folder, whole or not at all; one that is there already stays as it is."""
    file = folder / f"{signed.number:020d}{SUFFIX}"
    write_once(file, text_of_anchor(signed, path).encode())
    return file


def write_once(file: Path, data: bytes) -> None:
    """Write a file, whole or not at all; one that is there already stays as it is."""
    if file.exists():
        return
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.part")
    with unfinished.open("wb") as written:
        written.write(data)
        written.flush()
        os.fsync(written.fileno())
    crashpoint("signer:anchor_written")
    unfinished.rename(file)
    _keep_names(file.parent)


def _keep_names(folder: Path) -> None:
    """Let a crash of the machine not take the names of new files back."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def anchors_in(folder: Path) -> list[Path]:
    """The anchors, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def read_anchor(file: Path) -> str:
    """The text of an anchor.

    Raises:
        NoteInvalid: it is no text.
    """
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        message = "it is no text"
        raise NoteInvalid(message) from error
