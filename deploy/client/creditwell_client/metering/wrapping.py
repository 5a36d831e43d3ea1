"""`wrap`: a provider's own client, with every call of a model metered."""

import sys
from collections.abc import Callable, Collection
from typing import Any, TypeVar, cast
from weakref import WeakSet

import httpx2

from .answers import UncountedCall
from .counts import PRICED
from .meters import Attributes, CallMeter, Meter
from .transports import AsyncMeteredTransport, MeteredTransport

C = TypeVar("C")
PROVIDERS = {
    "openai": ("OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI"),
    "anthropic": ("Anthropic", "AsyncAnthropic"),
}
WRAPPED: WeakSet[object] = WeakSet()


def wrap(
    client: C,
    to: Meter,
    *,
    feature: str | None = None,
    attributes: Attributes | None = None,
    priced: Collection[str] = PRICED,
    uncounted: Callable[[UncountedCall], None] | None = None,
) -> C:
    """The same client over the same connections, whose calls are metered: wrap it for each piece of work, it is cheap.

    `to` is a hold, or `TeamUsage` of an emitter. `feature` and `attributes` are those of the hold's only item, or of
    `TeamUsage`, unless told; `attributes` may be a function of the model's name. `priced` names the quantities that the
    rate has prices for: what it has none for counts as what contains it. `uncounted` is told of each call that was
    answered and is not charged, as when a stream is left before the provider has said what it used; otherwise the log
    is.

    Raises:
        TypeError: it is no client of OpenAI's or Anthropic's that sends with httpx2, or is wrapped already.
        ValueError: several items are held, and no feature is named.
    """
    provider = _provider_of(client)
    # The one private name: neither library has a public way to the client that sends.
    inner: Any = getattr(client, "_client", None)
    if inner in WRAPPED:
        raise TypeError("it is wrapped already, and would count twice; wrap the client that it was made of")
    meter = CallMeter(to, feature, attributes, priced, uncounted)
    outer: httpx2.Client | httpx2.AsyncClient
    if isinstance(inner, httpx2.Client):
        outer = httpx2.Client(transport=MeteredTransport(inner, provider, meter), **_as_set(inner))
    elif isinstance(inner, httpx2.AsyncClient):
        outer = httpx2.AsyncClient(transport=AsyncMeteredTransport(inner, provider, meter), **_as_set(inner))
    else:
        raise TypeError(f"{type(client).__name__} sends with {type(inner)}: only what sends with httpx2 is metered")
    WRAPPED.add(outer)
    return cast("C", cast("Any", client).copy(http_client=outer))


def _provider_of(client: object) -> str:
    """Whose client it is, known without importing what may not be installed."""
    for provider, names in PROVIDERS.items():
        library = sys.modules.get(provider)
        metered = {getattr(library, name) for name in names if hasattr(library, name)}
        own = next((kind for kind in type(client).__mro__ if kind.__module__.split(".")[0] == provider), None)
        if own in metered:
            return provider
    metered_names = ", ".join(name for names in PROVIDERS.values() for name in names)
    raise TypeError(f"{type(client).__name__} is not metered; these are: {metered_names}")


def _as_set(inner: httpx2.Client | httpx2.AsyncClient) -> dict[str, Any]:
    """What the outer client needs to build the requests that the inner one would."""
    return {
        "base_url": inner.base_url,
        "headers": inner.headers,
        "params": inner.params,
        "cookies": inner.cookies,
        "timeout": inner.timeout,
        "follow_redirects": inner.follow_redirects,
        "trust_env": False,
    }
