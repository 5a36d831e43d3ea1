"""A sample of the money matrix: `make faults ARGS=--money` plays all of it."""

from deploy.local.stack import Stack
from tests.faults.matrix import play_many
from tests.faults.money import ANYWHERE, CELLS, STEPS, must_kill, run_of

# Every number of workers, time away and fault, in stores that go back and in others, though not each with each; and for
# each step one run in which somebody dies there whatever the timing.
SURELY = [
    next(seed for seed in range(len(CELLS)) if run_of(seed).step == step and must_kill(run_of(seed)))
    for step in STEPS
    if step != ANYWHERE
]
SAMPLE = sorted({*range(0, len(CELLS), 37), *SURELY})


async def test_whoever_dies_wherever_and_whatever_stripe_answers_charges_are_credits_and_no_attempt_is_paid_twice(
    stack: Stack, database: str
) -> None:
    tally = await play_many(stack, database, SAMPLE, killed_every=0)

    assert not tally.broken, [f"{run}: {found}" for run, found in tally.broken]
    drawn = {run.step for run in tally.runs}
    assert drawn == set(STEPS)
    assert {run.goes_back for run in tally.runs} == {True, False}
    assert [step for step in STEPS if not tally.deaths[step]] == [], (
        "at these steps nobody died: are they still so called?"
    )
