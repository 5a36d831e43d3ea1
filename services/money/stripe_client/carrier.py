"""Carries a question to Stripe over HTTP, with the client that the rest of Creditwell uses.

The library's own asynchronous clients need httpx, which has had no release since 2024, or aiohttp.
"""

import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx2
import stripe


class Carrier(stripe.HTTPClient):
    """One pool of connections to Stripe."""

    name = "httpx2"

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__()
        self._client = httpx2.AsyncClient(verify=trusted(), timeout=timeout_seconds)

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """The body, the status and the headers of the answer; raises APIConnectionError where there is none."""
        try:
            answer = await self._client.request(method, url, headers=dict(headers), content=post_data)
        except Exception as error:
            # Whatever broke, the question may have arrived; nothing more is known.
            raise stripe.APIConnectionError(f"no answer: {type(error).__name__}") from error  # type: ignore[no-untyped-call]  # as the library has it
        return answer.content, answer.status_code, answer.headers

    async def close_async(self) -> None:
        """Closes the connections."""
        await self._client.aclose()


@cache
def trusted() -> ssl.SSLContext:
    """Stripe is trusted by the certificates that its library brings, whatever the machine trusts; read once."""
    return ssl.create_default_context(cafile=stripe.ca_bundle_path)
