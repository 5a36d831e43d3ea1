"""One work in a process of its own, which is killed at the step that `CREDITWELL_CRASH_AT` names.

python -m tests.faults.steps DATABASE KAFKA FOLDER STRIPE HOST KEY WORK TEAM < the values of the topic's records
"""

import asyncio
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.faults.steps.ground import Others, a_ground
from tests.faults.steps.works import WORKS


async def main(database: str, kafka: str, folder: str, stripe: str, host: str, key: str, work: str, team: str) -> None:
    """Do it once."""
    stack: Any = SimpleNamespace(kafka=kafka)  # all that is asked of it
    private_key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(key))
    async with a_ground(stack, database, private_key, Others(Path(folder), stripe, host)) as ground:
        for value in sys.stdin.buffer.read().split(b"\n"):
            if value:
                ground.received(json.loads(value)["subject"].encode(), value)
        await WORKS[work].act(ground, team)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
