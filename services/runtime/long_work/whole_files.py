"""Small files that are there whole or not at all: written beside their place, brought to the disk, and renamed."""

import os
from pathlib import Path

PART = ".part"


def write_whole(file: Path, data: bytes) -> None:
    """Write a file, or leave what was there.

    Raises:
        OSError: it can't be written.
    """
    unfinished = file.with_name(file.name + PART)
    with unfinished.open("wb") as written:
        written.write(data)
        written.flush()
        os.fsync(written.fileno())
    unfinished.replace(file)
