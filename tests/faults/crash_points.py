"""The named places in the code at which a storm kills, freezes or stops a process, and what it takes to get there."""

from services.read_models.projecting import COPY_ROWS_MIN
from tests.faults.scene import Scene

CRASH_POINTS = {
    "recorder": (
        "recorder:fetched", "recorder:cursor_moved", "append:heads_taken", "append:written", "recorder:before_commit",
        "recorder:committed",
    ),
    "projector": ("projector:folded", "projector:saved", "projector:committed", "low:appended"),
    "relay": ("relay:read", "relay:sent", "relay:acked", "relay:moved"),
    "topup": ("topup:requested", "topup:created", "topup:recorded", "topup:confirmed", "topup:credited"),
}  # fmt: skip


async def reached_at(scene: Scene, point: str, passing: int) -> str:
    """When a process that is about to start passes a point, as it is told; what it takes to get there is waited for."""
    if point != "projector:saved":
        return f"{point}:{passing}"
    await scene.more_facts(2 * COPY_ROWS_MIN)  # while it is dead: fewer are saved by one statement, which has no middle
    return f"{point}:1"
