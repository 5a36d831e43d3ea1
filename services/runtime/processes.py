"""The processes of Creditwell.

Their names, their roles at the database, what they must be told, and who gives way to whom.

The one table of them. The command line, the supervisor, the local stack, the tests and the files of `deploy/` follow
it.
"""

import asyncio
import importlib
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from services.runtime.health import Health
from services.runtime.settings import Settings


class Main(Protocol):
    """What each process module offers as `serve`. It returns soon after `stop` is set, and not before."""

    def __call__(self, settings: Settings, stop: asyncio.Event, health: Health) -> Coroutine[Any, Any, None]:
        """Do the work of the process."""


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """One process, started by `creditwell serve NAME`.

    `module` offers it as `serve`, `role` is its role at the database without `creditwell_`, `settings` are those that
    it reads beside its database, `needs` those that it can't do without, `keys` those that it can do without only in
    insecure development. `gives_way` says that it works through masses while others answer somebody.
    """

    name: str
    module: str
    role: str
    settings: frozenset[str] = frozenset()
    needs: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    gives_way: bool = False

    def main(self) -> Main:
        """What runs it; imported only now, for a process needs nothing of the others."""
        main: Main = importlib.import_module(self.module).serve
        return main

    def needed(self, settings: Settings) -> tuple[str, ...]:
        """All that must be set for it to start, so that what is missing is said at once."""
        notices = "notice_secret" in self.settings and settings.notice_url is not None
        return (
            "database", *self.needs, *settings.outside_development(*self.keys),
            *(("notice_secret",) if notices else ()),
        )  # fmt: skip


_TABLE = (
    ServiceProcess("recorder", "services.usage.consuming", "recorder", frozenset({"kafka"}), ("kafka",), gives_way=True),
    # Gives way to nobody: what it has not folded yet, each read folds by itself, with the time that it lacks.
    ServiceProcess("projector", "services.read_models.projector", "projector"),
    ServiceProcess(
        "relay", "services.publishing.relay", "worker",
        frozenset({"kafka", "notice_url", "notice_secret", "usage_page"}), ("kafka",), gives_way=True,
    ),
    ServiceProcess(
        "topup", "services.money.topup", "worker", frozenset({"kafka", "stripe_api", "stripe_key"}),
        ("kafka", "stripe_key"),
    ),
    ServiceProcess("refill", "services.credits.refill", "worker"),
    ServiceProcess(
        "signer", "services.audit.signer", "signer",
        frozenset({"signing_key", "anchors", "tsa_url", "tsa_ca", "witness_url", "witness_key"}), keys=("signing_key",),
    ),
    ServiceProcess(
        "api", "services.api.serving", "api",
        frozenset({"kafka", "stripe_api", "stripe_key", "stripe_webhook_secret", "api_port", "cors_origins"}),
        # A caller's Host header says where a payer would come back to, unless we know it ourselves.
        ("kafka",), ("public_url", "jwks", "jwt_issuer", "jwt_audience"),
    ),
)  # fmt: skip
PROCESSES: Mapping[str, ServiceProcess] = {process.name: process for process in _TABLE}
