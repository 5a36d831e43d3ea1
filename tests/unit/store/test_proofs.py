"""Leaves, roots and the chain are what their description says, told once more by other means."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.store.copying import microseconds
from services.store.proofs import (
    GENESIS,
    SHORT_MAX,
    block_hash,
    leaf_of,
    merkle_root,
    pack_known,
    pack_place,
)

# The leaves and roots of Certificate Transparency's reference tests (RFC 6962 and RFC 9162 build the same tree).
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
INSTANTS = st.integers(-(10**15), 10**16).map(
    lambda number: datetime(2000, 1, 1, tzinfo=UTC) + number * timedelta(microseconds=1)
)


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    leaves = [leaf_of(bytes.fromhex(data)) for data in INPUTS[:size]]

    assert merkle_root(leaves).hex() == ROOTS[size - 1]


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70))
def test_a_root_is_that_of_the_recursive_definition(leaves: list[bytes]) -> None:
    def tree(part: list[bytes]) -> bytes:
        """RFC 9162, 2.1.1: split at the largest power of two smaller than the number of leaves."""
        if len(part) == 1:
            return part[0]
        split = 1 << (len(part) - 1).bit_length() - 1
        return sha256(b"\x01" + tree(part[:split]) + tree(part[split:])).digest()

    assert merkle_root(leaves) == tree(leaves)


def field(data: bytes) -> bytes:
    """Its length in four bytes, and itself."""
    return len(data).to_bytes(4, "big") + data


def since_2000(instant: datetime) -> bytes:
    delta = instant - datetime(2000, 1, 1, tzinfo=UTC)
    return ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds).to_bytes(8, "big", signed=True)


@given(st.integers(0, 63), st.integers(1, 2**62), INSTANTS, INSTANTS, TEXT, TEXT, TEXT, TEXT, st.binary(max_size=60))
def test_a_leaf_covers_every_column_with_its_length(
    shard: int,
    position: int,
    recorded: datetime,
    occurred: datetime,
    team: str,
    source: str,
    name: str,
    kind: str,
    body: bytes,
) -> None:
    row = pack_place(shard, position, microseconds(recorded)) + pack_known(occurred, team, source, name, kind, body)

    columns = [shard.to_bytes(2, "big"), position.to_bytes(8, "big"), since_2000(recorded), since_2000(occurred)]
    columns += [team.encode(), source.encode(), name.encode(), kind.encode(), body]
    assert leaf_of(row) == sha256(b"\x00" + b"".join(map(field, columns))).digest()


@pytest.mark.parametrize("length", [0, 1, SHORT_MAX - 1, SHORT_MAX, 70_000])
def test_fields_of_any_length_are_packed_alike(length: int) -> None:
    name, body = "x" * length, b"y" * length

    packed = pack_known(datetime(2000, 1, 1, tzinfo=UTC), "t", "s", name, "k", body)

    assert packed == b"".join(map(field, [bytes(8), b"t", b"s", name.encode(), b"k", body]))


def test_moving_a_boundary_between_two_columns_changes_the_leaf() -> None:
    at = datetime(2026, 11, 23, tzinfo=UTC)

    one = pack_known(at, "team_1", "1/features", "id", "usage.recorded.v1", b"{}")
    other = pack_known(at, "team_11", "/features", "id", "usage.recorded.v1", b"{}")

    assert leaf_of(one) != leaf_of(other)


def test_a_block_names_its_shard_its_places_the_block_before_and_its_root() -> None:
    said = b"\x02" + (31).to_bytes(2, "big") + (5).to_bytes(8, "big") + (8).to_bytes(8, "big") + GENESIS + b"r" * 32

    assert block_hash(31, 5, 8, GENESIS, b"r" * 32) == sha256(said).digest()
