"""The middleware of @creditwell/client meters what the real AI SDK of Vercel calls: told by Node's own test runner."""

import re
import subprocess

from tests.support.node import NODE, PROGRAMS, need_node


def test_the_middleware_counts_each_answer_to_the_token() -> None:
    need_node()

    done = subprocess.run(
        [NODE, "--no-warnings", "--test", "--test-reporter=tap", PROGRAMS / "metering.test.mjs"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"^# pass (\d+)$", done.stdout, re.MULTILINE)[0]) >= 30
