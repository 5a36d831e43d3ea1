"""Starts the stand-in for Stripe.

python -m deploy.local.stripe --port 12111 --key sk_test_… --webhook-url http://… --webhook-secret whsec_…
"""

import argparse
import asyncio
from pathlib import Path

from .app import create_app
from .server import serve


def main() -> None:
    """Serves until it is told to end; wrong arguments end it with 2."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.stripe", description="A stand-in for Stripe.")
    parser.add_argument("--port", type=int, required=True, help="on the loopback interface; 0 takes a free one")
    parser.add_argument("--key", required=True, help="the only secret key that is accepted: sk_test_…")
    parser.add_argument("--webhook-url", help="where events are posted; none: they are kept only")
    parser.add_argument("--webhook-secret", default="", help="signs them: whsec_…")
    parser.add_argument("--seed", type=int, default=0, help="the same seed and requests give the same ids")
    parser.add_argument("--state", type=Path, help="a SQLite file that keeps the books from start to start")
    parser.add_argument("--frozen-at", type=int, help="Unix seconds: the clock stands there until /_control/clock")
    arguments = parser.parse_args()
    try:
        app = create_app(
            secret_key=arguments.key,
            webhook_url=arguments.webhook_url,
            webhook_secret=arguments.webhook_secret,
            seed=arguments.seed,
            frozen_at=arguments.frozen_at,
            path=arguments.state,
        )
    except ValueError as wrong:
        parser.error(str(wrong))
    asyncio.run(serve(app, arguments.port))


if __name__ == "__main__":
    main()
