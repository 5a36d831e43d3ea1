"""Two months of 200 teams that mean no good: caps hold, one charge at a time, a dead card is left in peace, nothing is decided in silence."""

from tests.support.top_up_simulator import simulate

TEAMS = 200


def test_whatever_two_months_bring_every_promise_about_top_ups_is_kept() -> None:
    teams = [simulate(seed) for seed in range(TEAMS)]

    assert not {team.seed: team.wrong[:3] for team in teams if team.wrong}
    charged = [made for team in teams for made in team.made.values() if made.cents is not None]
    refused = [made for team in teams for made in team.made.values() if made.cents is None]
    assert min(len(charged), len(refused)) > 5 * TEAMS, "a simulation in which little happens shows little"
