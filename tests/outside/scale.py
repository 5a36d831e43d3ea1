"""The fold over the files of an archive, on a process pool, Dask, Ray and Spark, compared with one process.

Usage: python -m tests.outside.scale, by a Python that has them. Each must come to the same rows.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from projections.columns import BALANCES
from services.export.files import FileFormat, TableFile
from services.export.replaying import fold_files, fold_table
from services.export.tables import EVENT_COLUMNS
from tests.support.months import month_of, told

FACTS, WORKERS = 2_000, 2
ENGINE_SECONDS = 600  # Ray and Spark start in half a minute, and wait for ever where they find no room
SPARK_ROW = "shard long, team_id string, position long, as_of timestamp, included long, additional long, debt long"
SPARK_SETTINGS = {
    "spark.sql.session.timeZone": "UTC", "spark.sql.shuffle.partitions": str(2 * WORKERS),
    "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false",
}  # fmt: skip
Folded = list[tuple[Any, ...]]


def lay_archives(root: Path) -> None:
    """The facts of some teams over some months, as `creditwell archive` lays them."""
    files: dict[str, list[tuple[Any, ...]]] = {}
    for stored in told(FACTS, seed=4):
        month = month_of(stored.recorded_at)
        path = f"{month}/events/recorded={month}/shard-{stored.shard:02d}.parquet"
        files.setdefault(path, []).append((*stored, bytes(32)))
    for path, rows in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        table = TableFile(root, path, EVENT_COLUMNS, FileFormat.PARQUET)
        table.write(rows)
        table.finish()


def files_of_shards(root: Path) -> list[list[str]]:
    """The files of each shard, in the order of their months."""
    shards: dict[str, list[str]] = {}
    for file in sorted(root.glob("*/events/*/*.parquet"), key=lambda file: file.parent.name):
        shards.setdefault(file.name, []).append(str(file))
    return list(shards.values())


def in_one_process(root: Path) -> Folded:
    """The measure of the others."""
    return rows_of(map(fold_files, files_of_shards(root)))


def in_a_pool(root: Path) -> Folded:
    """The standard library's."""
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        return rows_of(pool.map(fold_files, files_of_shards(root)))


def in_dask(root: Path) -> Folded:
    """Two worker processes."""
    from distributed import Client, LocalCluster

    with LocalCluster(WORKERS, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        return rows_of(client.gather(client.map(fold_files, files_of_shards(root))))


def in_ray(root: Path) -> Folded:
    """Two worker processes, each with one of the cores that Ray may use."""
    import ray

    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        fold = ray.remote(fold_files)
        return rows_of(ray.get([fold.remote(files) for files in files_of_shards(root)]))
    finally:
        ray.shutdown()


def in_spark(root: Path) -> Folded:
    """Two executors, processes of their own."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(f"local-cluster[{WORKERS},1,1024]")
    for name, value in SPARK_SETTINGS.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    try:
        facts = spark.read.parquet(str(root / "*/events/*/*.parquet"))
        return rows_of([facts.groupBy("shard").applyInArrow(fold_table, SPARK_ROW).toArrow().to_pydict()])
    finally:
        spark.stop()


def rows_of(folded: Iterable[Mapping[str, Sequence[Any]]]) -> Folded:
    """All rows of some columns, in order."""
    return sorted(row for columns in folded for row in zip(*(columns[name] for name in BALANCES), strict=True))


ENGINES: dict[str, Callable[[Path], Folded]] = {
    "a process pool": in_a_pool,
    "Dask": in_dask,
    "Ray": in_ray,
    "Spark": in_spark,
}


def try_one(name: str, root: Path) -> None:
    """Fold with one engine, in this process.

    Raises:
        SystemExit: it comes to other balances.
    """
    expected, folded = in_one_process(root), ENGINES[name](root)
    if folded != expected:
        sys.exit(f"{name} folds to something else")
    print(f"{name} folds {len(expected)} teams to the same balances as one process", flush=True)


def try_within(seconds: float, name: str, root: Path) -> None:
    """The same in a process of its own, which is ended with all that it has started when its time is over.

    Raises:
        SystemExit: it is over, or the engine failed.
    """
    command = [sys.executable, "-m", "tests.outside.scale", name, str(root)]
    engine = subprocess.Popen(command, start_new_session=True)
    try:
        code = engine.wait(seconds)
    except subprocess.TimeoutExpired:
        sys.exit(
            f"{name} has not folded {FACTS:,} facts of each team within {seconds:.0f} s: it hangs, or waits for room"
        )
    finally:
        with suppress(ProcessLookupError):  # its workers, too
            os.killpg(engine.pid, signal.SIGKILL)
        engine.wait()
    if code:
        sys.exit(f"{name} ended with {code}: what it wrote is above")


def main() -> None:
    """One after the other, with a line for each."""
    with TemporaryDirectory(prefix="scale-") as folder:
        root = Path(folder)
        lay_archives(root)
        for name in ENGINES:
            try_within(ENGINE_SECONDS, name, root)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        try_one(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
