"""The processes of Creditwell.

Their names, their roles at the database, what they must be told, and who gives way to whom.

The one table of them. The command line, the supervisor, the local stack, the tests and the files of `deploy/` follow
it.
"""

import asyncio
import importlib
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from services.runtime.settings import Settings

if TYPE_CHECKING:  # its pages need a web framework, and who asks for a balance has none
    from services.runtime.health import Health


class Main(Protocol):
    """What each process module offers as `serve`. It returns soon after `stop` is set, and not before."""

    def __call__(self, settings: Settings, stop: asyncio.Event, health: "Health") -> Coroutine[Any, Any, None]:
        """Do the work of the process."""


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """One process, started by `creditwell serve NAME`.

    `module` offers it as `serve`, `role` is its role at the database without `creditwell_`, `settings` are those that
    it reads beside its database, and `gives_way` says that it works through masses while others answer somebody.
    """

    name: str
    module: str
    role: str
    settings: frozenset[str] = frozenset()
    gives_way: bool = False

    def main(self) -> Main:
        """What runs it; imported only now, for a process needs nothing of the others."""
        main: Main = importlib.import_module(self.module).serve
        return main


_TABLE = (
    ServiceProcess("recorder", "services.usage.consuming", "recorder", frozenset({"kafka"}), gives_way=True),
    ServiceProcess("projector", "services.read_models.projector", "projector", gives_way=True),
    ServiceProcess(
        "relay", "services.publishing.relay", "worker",
        frozenset({"kafka", "notice_url", "notice_secret", "usage_page"}), gives_way=True,
    ),
    ServiceProcess("topup", "services.money.topup", "worker", frozenset({"kafka", "stripe_api", "stripe_key"})),
    ServiceProcess("refill", "services.credits.refill", "worker"),
    ServiceProcess("signer", "services.audit.signer", "signer", frozenset({"signing_key", "anchors"})),
    ServiceProcess(
        "api", "services.api.serving", "api",
        frozenset({"kafka", "stripe_api", "stripe_key", "stripe_webhook_secret", "api_port", "cors_origins"}),
    ),
)  # fmt: skip
PROCESSES: Mapping[str, ServiceProcess] = {process.name: process for process in _TABLE}
