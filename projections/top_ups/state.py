"""The state of a team's top-ups: what the log says about them. `projections.top_ups.decisions` decides from it.

A low episode begins when the balance runs low and ends when it has recovered. Within it, decisions fall at certain
points: at the crossing, at the end of a cool-down, at a new month after a cap, at a changed card, setting or plan, when
somebody has paid. At each of them the answer is a fact: a top-up is requested, or skipped with its reason. Nothing
stops in silence. A point that finds the balance above the threshold, yet not recovered, stays until the balance is
below once more.

An attempt is named after its episode and the number of attempts that ended in it before. So whoever decides twice names
the same attempt. It ends only when Stripe can't take money for it any more, or has taken it.

States are frozen values; `projections.top_ups.fold` says what each fact makes of them.
"""

from datetime import timedelta
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from projections.balance.state import ALWAYS
from schemas.credits import MicroCredits

VERSION = 4  # of the saved form: states of another version are folded anew
DECLINES_MAX = 3
RECENT = timedelta(days=1)
# A clock may show the last month again: where it is turned back over midnight, or where a plan brings another zone.
MONTH_IS_OVER = timedelta(days=2)
OFTEN = 6  # within a day: each closes the whole gap, so a team that needs so many has set too little, or has a leak


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class TopUpChoices(_Value):
    """What the admin chose last."""

    enabled: bool
    threshold_credits: MicroCredits
    credits: MicroCredits | None
    restore_to_credits: MicroCredits | None
    monthly_cap_cents: int | None
    currency: str
    max_per_month: int | None
    cool_down_seconds: int


class ChargedCard(_Value):
    """What top-ups are charged to."""

    customer_id: str
    payment_method_id: str
    fingerprint: str | None
    brand: str | None = None
    last4: str | None = None


class Episode(_Value):
    """The time from running low to having recovered; `ended` counts its attempts that are over for good."""

    ran_low_id: str
    ended: int = 0


class Attempt(_Value):
    """A charge under way, with everything frozen that was decided.

    Attributes:
        attempt_id: names the attempt; it is worked out, never drawn.
        ran_low_id: the fact that opened the episode.
        credits: what the charge will bring.
        charge_cents: what Stripe is to take.
        currency: of the charge.
        customer_id: the team, as Stripe knows it.
        payment_method_id: the card that is charged.
        fingerprint: that card's number, as Stripe tells it apart.
        requested_at: when the attempt was decided.
        payment_intent_id: Stripe's intent, once there is one.
        action_required: the bank waits for an admin to confirm.
    """

    attempt_id: str
    ran_low_id: str
    number: int = 0
    credits: MicroCredits
    charge_cents: int
    currency: str
    customer_id: str
    payment_method_id: str
    fingerprint: str | None
    requested_at: AwareDatetime
    payment_intent_id: str | None = None
    action_required: bool = False


class Reserved(_Value):
    """What an attempt takes of a month's caps, until it has failed for good."""

    month: str
    cents: int
    currency: str


class Point(_Value):
    """A decision that is due at an instant."""

    name: str
    at: AwareDatetime


class Suspension(_Value):
    """Top-ups pause, until another card comes, somebody pays, or the payment is settled for which they pause."""

    cause: str
    reason: str
    fingerprint: str | None
    payment_intent_id: str | None = None
    paid: bool = False


class TopUps(_Value):
    """A team's state after `position`.

    Attributes:
        team_id: whose top-ups these are.
        position: the last fact that was folded, 0 before the first.
        zone: the time zone of the team's months.
        plan: the plan in force.
        settings: what an admin chose last.
        card: the card that is charged.
        episode: the time of running low, while it lasts.
        open: the attempt under way: there is one at most.
        cool_until: no attempt begins before.
        last_attempt_id: the last attempt that ended.
        declines: those in a row of the card on file.
        card_is_dead: the bank says that the card will not do, today or tomorrow.
        suspension: why top-ups pause.
        reserved: what attempts take of the caps, by the attempt's id.
        recent: when the last top-ups were requested, within a day and no more than `OFTEN` of them.
        point: the next decision that is due.
    """

    team_id: str
    position: int = 0
    zone: str = "UTC"
    plan: str = ""
    settings: TopUpChoices | None = None
    card: ChargedCard | None = None
    episode: Episode | None = None
    open: Attempt | None = None
    cool_until: AwareDatetime = ALWAYS
    last_attempt_id: str = ""
    declines: int = 0
    card_is_dead: bool = False
    suspension: Suspension | None = None
    reserved: dict[str, Reserved] = {}
    recent: tuple[AwareDatetime, ...] = ()
    point: Point | None = None

    @property
    def enabled(self) -> bool:
        """True while an admin wants top-ups."""
        return self.settings is not None and self.settings.enabled

    @property
    def unusually_often(self) -> bool:
        """True when this team had many top-ups within a day: somebody should look."""
        return len(self.recent) >= OFTEN

    def charges_cents(self, month: str, currency: str) -> list[int]:
        """What each top-up of a month takes of its caps, in cents: nothing of a cap in another currency.

        The catalog's may have changed.
        """
        of_month = (reserved for reserved in self.reserved.values() if reserved.month == month)
        return [reserved.cents if reserved.currency == currency else 0 for reserved in of_month]

    def but(self, **changes: object) -> Self:
        """The same with something changed."""
        return self.model_copy(update=changes)
