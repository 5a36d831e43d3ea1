"""What was reported stays on disk until Kafka has it, whatever happens to the process or the files."""

import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.emitter.segment import RECORD_MAX_BYTES, SpoolRecord
from schemas.emitter.spool import Spool, SpoolBatch, SpoolClosed, SpoolFull, SpoolInUse

ROOT = Path(__file__).parents[3]
SEGMENT = 4_096
ROOM = 16 * SEGMENT


def opened(folder: Path, *, max_bytes: int = ROOM) -> Spool:
    return Spool(folder, max_bytes=max_bytes, segment_bytes=SEGMENT)


def fill(spool: Spool, *numbers: int) -> None:
    for number in numbers:
        spool.append(b"team_42", number.to_bytes(4, "big") + bytes(range(1, 200)), number)


def numbers(batch: SpoolBatch | None) -> list[int]:
    return [int.from_bytes(record.value[:4], "big") for record in batch.records] if batch else []


def drain(spool: Spool) -> list[int]:
    drained: list[int] = []
    while batch := spool.peek(records_max=7):
        drained += numbers(batch)
        spool.drop(batch)
    return drained


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def abandon(spool: Spool) -> None:
    """What kill -9 leaves: nothing is tidied, only the lock is gone."""
    os.close(spool.lock_file)
    os.close(spool.delivered_file)


def test_records_come_out_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    fill(spool, *range(100))

    assert len(segments(tmp_path)) > 3
    assert spool.pending() == 100
    assert drain(spool) == list(range(100))
    assert spool.pending() == 0
    assert spool.peek() is None


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(b"", b"", 0)
    spool.append("tëam".encode(), b"\0" * 50, 2**63)
    batch = spool.peek()

    assert batch is not None
    assert batch.records == (SpoolRecord(0, b"", b""), SpoolRecord(2**63, "tëam".encode(), b"\0" * 50))


def test_the_same_records_come_again_until_they_are_dropped(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    fill(spool, 1, 2, 3)

    first = spool.peek(records_max=2)
    assert numbers(first) == numbers(spool.peek(records_max=2)) == [1, 2]
    assert first is not None
    spool.drop(first)
    assert numbers(spool.peek()) == [3]


def test_a_batch_is_bounded_but_never_empty(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    fill(spool, *range(10))

    assert numbers(spool.peek(bytes_max=1)) == [0]
    assert numbers(spool.peek(bytes_max=500)) == [0, 1]


def test_files_that_are_delivered_are_removed(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    for start in range(0, 1_000, 20):
        fill(spool, *range(start, start + 20))
        drain(spool)

    assert len(segments(tmp_path)) <= 2
    spool.close()
    assert segments(tmp_path) == []


@pytest.mark.parametrize("orderly", [True, False])
def test_what_was_not_delivered_comes_again_after_a_restart(tmp_path: Path, *, orderly: bool) -> None:
    spool = opened(tmp_path)
    fill(spool, *range(50))
    batch = spool.peek(records_max=15)
    assert batch is not None
    spool.drop(batch)
    spool.close() if orderly else abandon(spool)

    again = opened(tmp_path)
    fill(again, *range(50, 60))

    assert again.pending() == 45
    assert again.oldest() == 15
    assert drain(again) == list(range(15, 60))
    again.close()
    assert opened(tmp_path).pending() == 0


def test_restarts_without_end_lose_nothing_and_repeat_only_what_was_not_dropped(tmp_path: Path) -> None:
    sent: list[int] = []
    for life in range(12):
        spool = opened(tmp_path)
        fill(spool, *range(life * 10, life * 10 + 10))
        batch = spool.peek(records_max=9)
        assert batch is not None
        sent += numbers(batch)
        spool.drop(batch)
        abandon(spool)
    last = opened(tmp_path)
    sent += drain(last)

    assert sent == list(range(120))


def test_an_orderly_end_gives_the_unused_room_back(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    fill(spool, 1)
    assert segments(tmp_path)[0].stat().st_size == SEGMENT
    spool.close()

    assert segments(tmp_path)[0].stat().st_size < 300


@given(cut=st.integers(0, SEGMENT), data=st.data())
def test_a_torn_end_loses_only_what_is_torn(
    tmp_path_factory: pytest.TempPathFactory, cut: int, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("torn")
    spool = opened(folder)
    fill(spool, *range(10))
    ends = [end for _, end in spool.segments[0].read(0)]
    abandon(spool)
    path = segments(folder)[0]
    os.truncate(path, cut)
    if data.draw(st.booleans()):
        os.truncate(path, SEGMENT)  # a file system may leave zeros where it had no time to write

    again = opened(folder)

    whole = sum(1 for end in ends if end <= cut)
    assert again.pending() == whole
    fill(again, 77)
    assert drain(again) == [*range(whole), 77]
    again.close()
    kept = list(folder.glob("*.damaged"))
    assert len(kept) == again.damaged <= 1


def test_a_record_with_a_wrong_checksum_is_not_sent_and_its_file_is_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spool = opened(tmp_path)
    fill(spool, *range(40))
    abandon(spool)
    first, second, *_ = segments(tmp_path)
    content = bytearray(first.read_bytes())
    content[len(content) // 2] ^= 1
    first.write_bytes(content)

    again = opened(tmp_path)
    sent = drain(again)

    assert sent[0] == 0
    assert sent[-1] == 39
    assert sorted(set(sent)) == sent
    assert 20 < len(sent) < 40
    assert again.damaged == 1
    assert f"{first.name} can't be read from byte" in caplog.text
    assert first.with_suffix(".damaged").read_bytes() == content
    assert not second.exists()


def test_a_length_that_leads_out_of_the_file_is_damage_and_no_crash(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    fill(spool, 1, 2)
    place = next(end for _, end in spool.segments[0].read(0))
    abandon(spool)
    with segments(tmp_path)[0].open("r+b") as file:
        file.seek(place)
        file.write(struct.pack("<II", 2**32 - 1, 0))

    assert drain(opened(tmp_path)) == [1]


def test_an_unreadable_note_of_what_was_delivered_sends_everything_again(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    fill(spool, 1, 2, 3)
    batch = spool.peek(records_max=2)
    assert batch is not None
    spool.drop(batch)
    abandon(spool)
    (tmp_path / "delivered").write_bytes(b"nonsense" * 4)

    assert drain(opened(tmp_path)) == [1, 2, 3]


def test_a_full_spool_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = opened(tmp_path, max_bytes=4 * SEGMENT)
    with pytest.raises(SpoolFull, match=r"\d+ reports wait in .* may hold 16384 bytes"):
        fill(spool, *range(1_000))

    taken = spool.pending()
    assert 50 < taken < 100
    assert sum(path.stat().st_size for path in segments(tmp_path)) <= 4 * SEGMENT
    batch = spool.peek(records_max=40)
    assert batch is not None
    spool.drop(batch)
    assert spool.peek() is not None
    fill(spool, taken)
    assert drain(spool)[-1] == taken


def test_a_full_disk_is_a_full_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(file: int, offset: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    spool = opened(tmp_path)
    monkeypatch.setattr(os, "posix_fallocate", no_space)

    with pytest.raises(SpoolFull, match="No space left on device"):
        fill(spool, 1)
    assert segments(tmp_path) == []
    monkeypatch.undo()
    fill(spool, 2)
    assert drain(spool) == [2]


def test_a_record_larger_than_any_report_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is larger than"):
        opened(tmp_path).append(b"team", bytes(RECORD_MAX_BYTES), 0)


def test_a_spool_that_is_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="max_bytes 4096 is too small: write at least 16384"):
        opened(tmp_path, max_bytes=SEGMENT)


def test_one_folder_belongs_to_one_spool_at_a_time(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    with pytest.raises(
        SpoolInUse, match=f"in use by process {os.getpid()} of this .*: give each process a folder of its own"
    ):
        opened(tmp_path)
    spool.close()

    opened(tmp_path).close()


def test_a_closed_spool_takes_nothing(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.close()
    spool.close()

    with pytest.raises(SpoolClosed):
        fill(spool, 1)


def append_in_child(spool: Spool) -> None:
    try:
        fill(spool, 666)
    except SpoolClosed:
        os._exit(42)


def test_a_forked_child_can_neither_write_to_the_spool_nor_keep_it_locked(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    fill(spool, 1)
    child = multiprocessing.get_context("fork").Process(target=append_in_child, args=(spool,))
    child.start()
    child.join()

    assert child.exitcode == 42
    fill(spool, 2)
    assert drain(spool) == [1, 2]


def test_many_threads_may_append_while_one_reads(tmp_path: Path) -> None:
    spool = Spool(tmp_path, max_bytes=64 * 65_536, segment_bytes=65_536)
    writers = [threading.Thread(target=fill, args=(spool, *range(start, 4_000, 4))) for start in range(4)]
    for writer in writers:
        writer.start()
    received: list[int] = []
    while any(writer.is_alive() for writer in writers):
        received += drain(spool)
    received += drain(spool)

    assert sorted(received) == list(range(4_000))
    for start in range(4):
        assert [number for number in received if number % 4 == start] == list(range(start, 4_000, 4))


KILLED = """
import os, signal, sys
from pathlib import Path
from schemas.emitter.spool import Spool
spool = Spool(Path(sys.argv[1]), segment_bytes=65536, max_bytes=64 * 65536)
for number in range(1_000_000):
    spool.append(b"team_42", number.to_bytes(4, "big") + bytes(200), number)
    os.write(1, b".")
"""


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        told = len(process.stdout.read(3_000))
        process.send_signal(signal.SIGKILL)
        told += len(process.stdout.read())

    survived = drain(Spool(tmp_path))

    assert told >= 3_000
    assert survived == list(range(len(survived)))
    assert told <= len(survived) <= told + 1


def test_syncing_is_only_for_what_kafka_does_not_have(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    fill(spool, *range(30))
    assert all(segment.synced < segment.end for segment in spool.segments)
    spool.sync()
    assert all(segment.synced == segment.end for segment in spool.segments)

    fill(spool, 30)
    drain(spool)
    spool.sync()
    assert spool.segments[-1].synced < spool.segments[-1].end


def test_with_fsync_always_a_report_is_on_the_disk_when_it_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path, segment_bytes=SEGMENT, max_bytes=ROOM, fsync="always")
    synced: list[int] = []
    sync = os.fdatasync

    def noted(file: int) -> None:
        synced.append(file)
        sync(file)

    monkeypatch.setattr(os, "fdatasync", noted)
    fill(spool, 1, 2, 3)

    assert len(synced) == 3


def test_with_fsync_always_a_report_that_the_disk_refuses_never_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(file: int) -> None:
        raise OSError(5, "Input/output error")

    spool = Spool(tmp_path, segment_bytes=SEGMENT, max_bytes=ROOM, fsync="always")
    fill(spool, 1)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(OSError, match="Input/output error"):
            fill(spool, 2)
    abandon(spool)

    assert drain(opened(tmp_path)) == [1]


def test_a_thousand_restarts_leave_no_file_open(tmp_path: Path) -> None:
    before = open_files()
    for life in range(1_000):
        spool = opened(tmp_path)
        fill(spool, life)
        drain(spool)
        spool.close()

    assert open_files() == before


def open_files() -> int:
    return psutil.Process().num_fds()
