"""Files that are made from something else in the repository: written anew, or only looked at."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def keep_up_to_date(texts: Mapping[Path, str], arguments: Sequence[str]) -> int:
    """Write what differs, or with --check name it; the exit code: 1 where a check has found some."""
    stale = [file for file, text in texts.items() if not file.exists() or file.read_text("utf-8") != text]
    if "--check" in arguments:
        for file in stale:
            print(f"{file.name} is out of date: run make docs", file=sys.stderr)
        return int(bool(stale))
    for file in stale:
        file.write_text(texts[file], "utf-8")
    return 0
