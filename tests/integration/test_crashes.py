"""kill -9 at every named step of every process, one short storm: what `make faults` plays two hundred times, in the order of the code."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from deploy.local.stack import Stack
from tests.conftest import a_database
from tests.faults.injections import CRASH_POINTS, crash_at
from tests.faults.scene import Scene, a_scene

ROUNDS = max(map(len, CRASH_POINTS.values()))


@pytest.fixture(scope="module")
async def scene(stack: Stack, template: str) -> AsyncIterator[Scene]:
    """A whole Creditwell under load, for all rounds."""
    async with a_database(stack, template) as database, a_scene(stack, database, seed=1, per_second=120) as scene:
        yield scene


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_recorder_projector_relay_and_top_up_worker_die_at_a_step_of_each_and_everything_counts_once(
    scene: Scene, number: int
) -> None:
    points = {program: points[number] for program, points in CRASH_POINTS.items() if number < len(points)}

    await asyncio.gather(*(crash_at(scene, program, point, 1) for program, point in points.items()))
    await scene.heal()

    assert await scene.problems(thorough=number == ROUNDS - 1) == []
