"""Ids of reports: UUIDs of version 7, which sort by their time."""

import os
import time
from collections.abc import Iterator


def uuid7s() -> Iterator[str]:
    """Identities that sort by time (RFC 9562, version 7): milliseconds, their fraction in 12 bits, 62 random bits.

    Not for several threads at once. Randomness is fetched for 512 at a time: asking the kernel lets another thread take
    the interpreter, and a caller would wait for it.
    """
    while True:
        entropy = os.urandom(8 * 512)
        for start in range(0, len(entropy), 8):
            milliseconds, rest = divmod(time.time_ns(), 1_000_000)
            fraction = (rest << 12) // 1_000_000
            noise = int.from_bytes(entropy[start : start + 8], "big") >> 2
            digits = f"{milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | noise:032x}"
            yield f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
