"""A team's shard, and the partition of a topic with any number of them, are Kafka's own choice."""

from aiokafka.partitioner import DefaultPartitioner
from hypothesis import given
from hypothesis import strategies as st

from services.publishing.batches import route
from services.store.shards import SHARDS, partition_of, shard_of

TEAMS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(TEAMS, st.integers(1, 200))
def test_a_key_goes_where_kafkas_default_partitioner_puts_it(team: str, count: int) -> None:
    key, partitions = team.encode(), list(range(count))
    chosen = DefaultPartitioner()(key, partitions, partitions)

    assert partition_of(key, count) == chosen
    assert route(team, count) == (key, chosen)


@given(TEAMS)
def test_a_teams_shard_is_its_partition_among_as_many(team: str) -> None:
    assert shard_of(team) == shard_of(team) == partition_of(team.encode(), SHARDS)


def test_shards_stay_where_they_were() -> None:
    assert [shard_of(team) for team in ("team_1", "team_2", "team_42", "creditwell")] == [41, 4, 40, 27]
