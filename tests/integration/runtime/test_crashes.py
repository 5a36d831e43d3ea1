"""kill -9 at every named step of every process, under load: what `make faults` draws from, once each and in the order of the code."""

import asyncio

from deploy.local.stack import Stack
from tests.faults.crash_points import CRASH_POINTS
from tests.faults.injections import die_one_after_the_other
from tests.faults.scene import a_scene


async def test_recorder_projector_relay_and_top_up_worker_die_at_each_of_their_steps_and_everything_counts_once(
    stack: Stack, database: str
) -> None:
    async with a_scene(stack, database, seed=1, per_second=120) as scene:
        # The projector lives on while the top-up worker dies: without it, nobody runs low.
        others = [program for program in CRASH_POINTS if program != "projector"]
        await asyncio.gather(*(die_one_after_the_other(scene, program, CRASH_POINTS[program]) for program in others))
        await scene.heal()
        await die_one_after_the_other(scene, "projector", CRASH_POINTS["projector"])
        await scene.heal()

        assert await scene.problems(thorough=True) == []
