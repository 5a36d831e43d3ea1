"""Who plays in the demo: the teams of a video product, what their members make, and what each step of it costs.

    Northlight Studio   a studio on pro that works hard; top-ups fill its balance up
    Papercut Films      on pro, with top-ups of a fixed amount, and a cool-down between two of them
    Solo Sam            on the free plan, without top-ups, and soon without credits
    Harbor Academy      on pro; its cycle ends a moment after the curtain rises, and the pack that it bought outlives it

All that they do is made up; everything that answers is real, save Stripe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import NamedTuple

from deploy.local.teams import TeamPlan
from schemas.credits import MICRO
from schemas.rates import RateCard
from services.credits.directory import DirectoryMember

StepAttributes = Mapping[str, str]

NORTHLIGHT, PAPERCUT, SOLO, HARBOR = "team_northlight", "team_papercut", "team_solo", "team_harbor"
CYCLE_ENDS_AFTER = timedelta(seconds=12)


class DemoStep(NamedTuple):
    """One thing that a feature service does for a member: between `least` and `most` of the feature's own unit."""

    service: str
    feature: str
    attributes: StepAttributes | None
    least: int
    most: int
    decimals: int = 0

    def quantity(self, random: Random) -> str:
        """How much it was this time."""
        scale = 10**self.decimals
        return str(Decimal(random.randint(self.least * scale, self.most * scale)) / scale)


VOICEOVER = DemoStep("audio", "ai_audio.voiceover", None, 300, 1_800)
CLONED_VOICE = DemoStep("audio", "ai_audio.voiceover", {"voice": "cloned"}, 600, 2_400)
MUSIC = DemoStep("audio", "ai_audio.music", None, 20, 90, 1)
SOUND = DemoStep("audio", "ai_audio.sound_effect", None, 1, 1)
TRANSCRIPT = DemoStep("audio", "ai_audio.transcribe", None, 120, 900, 2)
DUB = DemoStep("audio", "ai_audio.dub", None, 20, 60, 1)
SKETCH = DemoStep("image", "ai_image.generate", {"tier": "low"}, 1, 4)
IMAGE = DemoStep("image", "ai_image.generate", {"tier": "standard"}, 1, 2)
POSTER = DemoStep("image", "ai_image.generate", {"tier": "high"}, 1, 1)
CLIP = DemoStep("video", "ai_video.generate", {"tier": "standard"}, 4, 8, 1)
HERO_CLIP = DemoStep("video", "ai_video.generate", {"tier": "high", "model": "cinema"}, 3, 6, 1)
CUT_OUT = DemoStep("effects", "ai_effects.remove_image_background", None, 1, 3)
UPSCALE = DemoStep("effects", "ai_effects.upscale_image", {"scale": "4x"}, 1, 1)
LIP_SYNC = DemoStep("effects", "ai_effects.lip_sync", None, 5, 12, 1)
NO_FILLERS = DemoStep("effects", "ai_effects.remove_filler_words", None, 120, 600, 1)
EXPORT = DemoStep("export", "video_export.render", {"resolution": "1080p"}, 30, 120, 2)
EXPORT_4K = DemoStep("export", "video_export.render", {"resolution": "4k"}, 30, 90, 2)
DRAFT = DemoStep("export", "video_export.render", {"resolution": "720p"}, 15, 60, 2)

SERVICES = ("video", "image", "audio", "effects", "export", "storage")

SHORT_FILM = (CLONED_VOICE, SKETCH, IMAGE, IMAGE, CLIP, HERO_CLIP, LIP_SYNC, MUSIC, POSTER, EXPORT_4K)
ADVERT = (SKETCH, IMAGE, CLIP, VOICEOVER, MUSIC, UPSCALE, EXPORT)
LECTURE = (TRANSCRIPT, NO_FILLERS, DUB, SKETCH, CUT_OUT, EXPORT)
POST = (SKETCH, VOICEOVER, SOUND, CUT_OUT, IMAGE, DRAFT)


@dataclass(frozen=True)
class DemoRole:
    """A team in the play: what its members make, one project after the other, and how long they take over a step."""

    team: TeamPlan
    project: Sequence[DemoStep]
    step_seconds: float
    storage_gb: str


def roles(now: datetime) -> tuple[DemoRole, ...]:
    """The teams, as of now: three in the middle of their cycle, one at the very end of it."""
    northlight = TeamPlan(
        NORTHLIGHT, "Northlight Studio", "pro",
        _people("mem_ada Ada Lindqvist", "mem_ben Ben Okafor", "mem_chiara Chiara Russo", "mem_deniz Deniz Kaya",
                "mem_elif Elif Arslan"),
        zone="Europe/Berlin", anchor=now - timedelta(days=12),
    )  # fmt: skip
    papercut = TeamPlan(
        PAPERCUT, "Papercut Films", "pro", _people("mem_dana Dana Whitfield", "mem_emil Emil Sørensen"),
        zone="America/New_York", anchor=now - timedelta(days=3),
    )  # fmt: skip
    solo = TeamPlan(
        SOLO, "Solo Sam", "free", _people("mem_sam Sam Carter", "mem_tess Tess Carter"),
        zone="Europe/London", anchor=now - timedelta(days=20),
    )  # fmt: skip
    harbor = TeamPlan(
        HARBOR, "Harbor Academy", "pro",
        _people("mem_hana Hana Mori", "mem_ines Inês Duarte", "mem_jomo Jomo Otieno"),
        zone="Asia/Tokyo", anchor=now + CYCLE_ENDS_AFTER,
    )  # fmt: skip
    return (
        DemoRole(northlight, SHORT_FILM, 0.8, "412.5"),
        DemoRole(papercut, ADVERT, 0.4, "88.25"),
        DemoRole(solo, POST, 0.5, "3.5"),
        DemoRole(harbor, LECTURE, 0.8, "140"),
    )


def _people(*names: str) -> tuple[DirectoryMember, ...]:
    """The first is the admin."""
    parts = [name.partition(" ") for name in names]
    return tuple(
        DirectoryMember(member_id, name, "member" if place else "admin")
        for place, (member_id, _, name) in enumerate(parts)
    )


def cost(card: RateCard, feature: str, attributes: StepAttributes | None, quantity: str) -> int:
    """Micro-credits by the very rate that names these attributes.

    They are worked out without the code that prices at the door.
    """
    (rate,) = [
        rate.credits or "0"
        for category in card.categories
        for one in category.features
        for rate in one.rates
        if one.feature == feature and dict(rate.attributes) == dict(attributes or {})
    ]
    return int((Decimal(rate) * Decimal(quantity) * MICRO).to_integral_value(ROUND_HALF_UP))
