"""Each cell of the matrix of steps once: `make faults ARGS=--steps` plays as many as it is told to."""

from deploy.local.stack import Stack
from tests.faults.steps.matrix import StepsPlan, play_steps
from tests.faults.steps.works import CELLS


async def test_whoever_dies_over_a_work_at_whichever_step_it_is_done_once_and_answered_once(
    stack: Stack, template: str
) -> None:
    tally = await play_steps(stack, template, StepsPlan(range(len(CELLS)), killed_every=0))

    assert tally.broken == []
    assert tally.deaths == dict.fromkeys(CELLS, 1)
