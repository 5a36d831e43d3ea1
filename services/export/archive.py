"""The archive of a closed month: its facts and blocks as Parquet, with a note that was signed afterwards.

A copy: the rows stay where they are. Each month has a folder of its own, so an engine reads all of them as one table.
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from schemas.instants import YEARS, instant
from services.export.exporting import NOW, OnRows, export
from services.export.files import FileFormat
from services.export.folders import next_month
from services.export.manifest import ExportRequest, Manifest, is_export
from services.runtime.errors import Refused
from services.store.connect import Connection

# A transaction takes its time before it commits; by then each that began within the month has ended or was ended.
CLOSED_AFTER = timedelta(hours=1)
MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])", re.ASCII)


async def archive(
    connection: Connection, month: str, root: Path, on_rows: OnRows = lambda _: None
) -> tuple[Manifest, Path, bool]:
    """Write the archive of a month into a folder below `root`; its manifest, where it is, and whether it was there.

    Raises:
        Refused: `wrong_month`; `month_open`, it is not over; `not_signed_yet`, no note covers it; or as `export`.
        LogChanged, OSError: as `export`.
    """
    begin, end = bounds_of(month)
    now = await connection.fetchval(NOW)
    if now < end + CLOSED_AFTER:
        raise Refused("month_open", f"{month} is closed an hour after its end; it is {instant(now)}")
    request = ExportRequest("events", FileFormat.PARQUET, since=instant(begin), until=instant(end), month=month)
    manifest, there_before = await export(connection, request, root / month, on_rows)
    return manifest, root / month, there_before


def bounds_of(month: str) -> tuple[datetime, datetime]:
    """When a month begins and ends, in UTC.

    Raises:
        Refused: `wrong_month`.
    """
    if not MONTH.fullmatch(month) or not YEARS[0] <= int(month[:4]) <= YEARS[1]:
        raise Refused("wrong_month", f"{month!r} is no month: write it as 2026-10")
    begin, end = (datetime.fromisoformat(f"{of}-01").replace(tzinfo=UTC) for of in (month, next_month(month)))
    return begin, end


def months_missing(root: Path, month: str) -> list[str]:
    """Months between the last archive before this one and this one: they are not in the folder yet."""
    before = [
        path.name for path in root.iterdir() if MONTH.fullmatch(path.name) and path.name < month and is_export(path)
    ]
    missing, following = list[str](), next_month(max(before)) if before else month
    while following < month:
        missing.append(following)
        following = next_month(following)
    return missing
