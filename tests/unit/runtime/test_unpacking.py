"""What a producer has compressed is unpacked as aiokafka would, and never further than the bound."""

import gzip
from collections.abc import Callable
from random import Random

import pytest
from aiokafka import codec as aiokafka

from services.runtime.kafka.unpacking import UNPACKED_MAX, NotUnpacked, unpack

TEXT = Random(7).randbytes(1_000) * 50
CODECS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "gzip": (1, aiokafka.gzip_encode),
    "snappy in blocks": (2, aiokafka.snappy_encode),
    "snappy": (2, lambda plain: bytes(aiokafka.snappy_encode(plain, xerial_compatible=False))),
    "lz4": (3, aiokafka.lz4_encode),
    "zstd": (4, aiokafka.zstd_encode),
}


@pytest.mark.parametrize("name", CODECS)
def test_a_batch_is_unpacked_to_what_was_packed_up_to_the_very_bound(name: str) -> None:
    codec, pack = CODECS[name]

    assert bytes(unpack(codec, pack(TEXT))) == TEXT
    assert len(unpack(codec, pack(bytes(UNPACKED_MAX)))) == UNPACKED_MAX
    assert bytes(unpack(codec, pack(TEXT))) == TEXT  # the room was used meanwhile


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("more", [1, 5 * UNPACKED_MAX])
def test_what_would_be_larger_than_the_bound_is_refused(name: str, more: int) -> None:
    codec, pack = CODECS[name]

    with pytest.raises(NotUnpacked, match="send smaller batches") as refused:
        unpack(codec, pack(bytes(UNPACKED_MAX + more)))

    assert refused.value.reason == "batch_too_big"


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("spoilt", [b"", b"no such thing at all", None])
def test_what_can_not_be_unpacked_is_refused(name: str, spoilt: bytes | None) -> None:
    codec, pack = CODECS[name]

    with pytest.raises(NotUnpacked) as refused:
        unpack(codec, pack(TEXT)[:-20] if spoilt is None else spoilt)

    assert refused.value.reason == "batch_unreadable"


def test_gzip_in_several_members_is_one_batch() -> None:
    assert bytes(unpack(1, gzip.compress(TEXT) + gzip.compress(TEXT))) == TEXT + TEXT


def test_blocks_without_end_that_unpack_to_nothing_are_refused() -> None:
    empty = aiokafka.snappy_encode(b"")
    header, block = aiokafka.snappy_encode(b"x")[:16], b"\0\0\0\1\0"

    assert bytes(unpack(2, empty)) == b""
    with pytest.raises(NotUnpacked):
        unpack(2, header + block * 1_000_000)


def test_a_format_that_nobody_knows_is_refused() -> None:
    with pytest.raises(NotUnpacked, match="number 7"):
        unpack(7, TEXT)
