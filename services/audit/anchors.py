"""Anchors: copies of the signed notes in a folder outside the database.

Whoever rewrites the database, or restores an old backup of it, does not rewrite these. Best on storage that keeps what
it was given (object lock), mounted as a folder. A file is named after the size of the log that its note speaks of, so
names sort as the notes do.
"""

import os
from pathlib import Path

SUFFIX = ".note"


def write_anchor(folder: Path, size: int, note: str) -> Path:
    """Put a note into the folder, whole or not at all; one that is there already stays as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{size:020d}{SUFFIX}"
    if path.exists():
        return path
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(note)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    return path


def anchors_in(folder: Path) -> list[Path]:
    """The anchors, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def read_anchor(path: Path) -> str:
    """The note of an anchor."""
    return path.read_text("utf-8")
