"""A real nginx in front of something, with the configuration that `docs/proxy.md` shows; for `make outside-checks`."""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deploy.local.folders import free_ports
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
ABSENT = (
    "nginx is not on the PATH: nothing was tried behind a real proxy. On Debian: apt-get install nginx-light. "
    "`make test` has a stand-in for it."
)


def configuration(api: str, port: int, folder: Path) -> str:
    """What the page shows, with these addresses, and everything that nginx writes in a folder."""
    shown: str = re.findall(r"```nginx\n(.*?)```", (ROOT / "docs" / "proxy.md").read_text("utf-8"), re.DOTALL)[0]
    for before, after in (
        ("127.0.0.1:8000", api.removeprefix("http://")),
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
    ):
        assert shown.count(before) == 1, before
        shown = shown.replace(before, after)
    temporary = "".join(
        f"    {name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    head = f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
    return head + shown.replace("http {\n", f"http {{\n    access_log off;\n{temporary}", 1)


@asynccontextmanager
async def an_nginx(api: str, folder: Path) -> AsyncIterator[str]:
    """Its address."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.fail(ABSENT, pytrace=False)
    (port,) = free_ports(1)
    written = folder / "nginx.conf"
    written.write_text(configuration(api, port, folder))
    arguments = ["-p", str(folder), "-e", str(folder / "error.log"), "-c", str(written)]
    process = await asyncio.create_subprocess_exec(program, *arguments)
    try:

        async def listens() -> bool:
            assert process.returncode is None, (folder / "error.log").read_text()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.close()
            return True

        await until(listens, what="nginx listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
