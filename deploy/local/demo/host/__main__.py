"""Starts the host product's site.

python -m deploy.local.demo.host --port 8081 --api http://127.0.0.1:8000 --team team_42 --admin mem_1 --member mem_2
"""

import argparse

import uvicorn

from deploy.local.demo.host import create_app
from services.api.tokens import TokenRole


def main() -> None:
    """Serves until it is told to end."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.demo.host", description="A product that embeds Creditwell."
    )
    parser.add_argument("--port", type=int, required=True, help="on the loopback interface")
    parser.add_argument("--api", required=True, help="where Creditwell is")
    parser.add_argument("--team", required=True)
    parser.add_argument("--admin", required=True)
    parser.add_argument("--member", required=True)
    parser.add_argument("--images", default="", help="where images are made")
    arguments = parser.parse_args()
    app = create_app(
        arguments.api,
        arguments.team,
        {arguments.member: TokenRole.MEMBER, arguments.admin: TokenRole.ADMIN},
        arguments.images,
    )
    uvicorn.run(app, host="127.0.0.1", port=arguments.port, log_level="warning")


if __name__ == "__main__":
    main()
