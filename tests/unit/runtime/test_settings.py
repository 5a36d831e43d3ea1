"""Wrong settings end a process at once and name themselves; secrets stay secret; health is told by progress."""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from pydantic import SecretStr

from services.api.serving import serve
from services.runtime.health import STUCK_SECONDS, Health
from services.runtime.health_pages import health_app
from services.runtime.logs import configure_logs, get_log
from services.runtime.processes import PROCESSES
from services.runtime.settings import Settings, WrongSettings, advice
from services.runtime.settings_loading import OTHERS, load_settings, unknown_variables
from services.runtime.supervisor import supervise

CANARY = "canary-4f1c9e"
SECRETS = {
    "CREDITWELL_DATABASE": f"postgresql://creditwell_api:{CANARY}@db.internal:5432/creditwell",
    "CREDITWELL_STRIPE_KEY": f"sk_test_{CANARY}",
    "CREDITWELL_STRIPE_WEBHOOK_SECRET": f"whsec_{CANARY}_old,whsec_{CANARY}_new",
    "CREDITWELL_SIGNING_KEY": f"{CANARY}=",
}


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("CREDITWELL_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("API_PORT", "eighty", "CREDITWELL_API_PORT is wrong: input should be a valid integer"),
        ("API_PORT", "65536", "CREDITWELL_API_PORT is wrong"),
        ("HEALTH_PORT", "-1", "CREDITWELL_HEALTH_PORT is wrong"),
        ("KAFKA", "kafka", "CREDITWELL_KAFKA is wrong"),
        ("KAFKA", "a:1, b:2", "CREDITWELL_KAFKA is wrong"),
        ("DATABASE", "mysql://u@h/d", "CREDITWELL_DATABASE is wrong: it is not a postgresql:// URL"),
        ("STRIPE_API", "api.stripe.com", "CREDITWELL_STRIPE_API is wrong"),
        ("STRIPE_API", "http://api.example.com", "CREDITWELL_STRIPE_API begins with http://; write https://"),
        (
            "JWKS",
            "/nowhere/jwks.json",
            "CREDITWELL_JWKS is wrong: '/nowhere/jwks.json' is neither a URL nor a file that exists",
        ),
        ("JWKS", "http://login.example.com/jwks", "CREDITWELL_JWKS begins with http://"),
        ("CORS_ORIGINS", "*", "CREDITWELL_CORS_ORIGINS is wrong: '*' is not an origin"),
        ("CORS_ORIGINS", "https://a.example,https://b.example/path", "'https://b.example/path' is not an origin"),
        ("API_PROXIES", "*", "CREDITWELL_API_PROXIES is wrong: '*' does not appear to be an IPv4 or IPv6 network"),
        ("API_PROXIES", "10.0.0.0/8,10.0.0.1/8", "CREDITWELL_API_PROXIES is wrong: 10.0.0.1/8 has host bits set"),
        ("CATALOG", "/nowhere/catalog.toml", "CREDITWELL_CATALOG is wrong"),
        ("INSECURE_DEV", "perhaps", "CREDITWELL_INSECURE_DEV is wrong"),
        ("LOG_LEVEL", "loud", "CREDITWELL_LOG_LEVEL is wrong"),
        ("LOG_LEVELS", "services.money=loud", "CREDITWELL_LOG_LEVELS is wrong"),
        ("LOG_LEVELS", "aiokafka", "CREDITWELL_LOG_LEVELS is wrong"),
        ("SIGN_EVERY_SECONDS", "61", "CREDITWELL_SIGN_EVERY_SECONDS is wrong"),
        ("SECRETS_DIR", "/nowhere", "CREDITWELL_SECRETS_DIR: '/nowhere' is not a folder"),
    ],
)
def test_a_wrong_setting_ends_the_process_and_names_the_variable_and_what_to_write(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"CREDITWELL_{name}", value)

    with pytest.raises(SystemExit) as ended:
        load_settings()

    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Write, for example: " in error or "write https://" in error or name == "SECRETS_DIR"


def test_all_that_is_wrong_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"CREDITWELL_LOG_LEVELS": "access=loud", "CREDITWELL_LOG_LEVEL": "loud", "CREDITWELL_API_PORT": "eighty"}
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit):
        load_settings()

    said = capsys.readouterr().err
    assert [name for name in wrong if f"{name} is wrong" not in said] == []


def test_a_missing_setting_is_named_with_what_to_write() -> None:
    with pytest.raises(WrongSettings) as missing:
        load_settings().require("kafka", "database", "api_port")

    assert missing.value.sentences == (
        f"CREDITWELL_KAFKA is not set. {advice('kafka')}",
        f"CREDITWELL_DATABASE is not set. {advice('database')}",
    )
    with pytest.raises(WrongSettings, match="CREDITWELL_STRIPE_KEY is not set"):
        load_settings().needed("stripe_key")


def test_keys_may_be_missing_in_insecure_development_alone() -> None:
    with pytest.raises(WrongSettings, match="CREDITWELL_JWKS is not set"):
        load_settings().require_keys("jwks")
    load_settings(insecure_dev=True).require_keys("jwks")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STRIPE_KEY", "sk_live_123"), ("STRIPE_KEY", "rk_live_123"), ("API_HOST", "0.0.0.0"), ("API_HOST", "::"),
        ("API_HOST", "credits.internal"), ("HEALTH_HOST", "10.0.0.7"),
    ],
)  # fmt: skip
def test_development_takes_no_money_and_no_strangers(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"CREDITWELL_{name}", value)
    load_settings()  # fine outside of it

    monkeypatch.setenv("CREDITWELL_INSECURE_DEV", "1")
    with pytest.raises(SystemExit) as ended:
        load_settings()

    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"CREDITWELL_{name} " in error
    assert "is for one machine, with a test key" in error
    assert value not in error or name != "STRIPE_KEY"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_development_listens_on_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITWELL_API_HOST", host)
    monkeypatch.setenv("CREDITWELL_INSECURE_DEV", "1")

    assert load_settings().api_host == host


async def test_an_api_in_production_names_all_that_is_missing_at_once() -> None:
    with pytest.raises(WrongSettings) as missing:
        await serve(load_settings(), asyncio.Event(), Health("api"))

    said = str(missing.value)
    for name in ("DATABASE", "KAFKA", "PUBLIC_URL", "JWKS", "JWT_ISSUER", "JWT_AUDIENCE"):
        assert f"CREDITWELL_{name} is not set." in said


@pytest.mark.parametrize(
    ("process", "missing"),
    [
        ("recorder", ["KAFKA"]),
        ("relay", ["KAFKA", "NOTICE_SECRET"]),
        ("topup", ["KAFKA", "STRIPE_KEY"]),
        ("signer", ["SIGNING_KEY"]),
    ],
)
async def test_every_process_names_all_that_is_missing_at_once(process: str, missing: list[str]) -> None:
    settings = load_settings(notice_url="https://app.example.com/hook")
    with pytest.raises(WrongSettings) as wrong:
        await PROCESSES[process].main()(settings, asyncio.Event(), Health(process))

    assert [one.partition(" ")[0] for one in wrong.value.sentences] == [
        f"CREDITWELL_{name}" for name in ("DATABASE", *missing)
    ]


async def test_all_processes_together_name_what_any_of_them_misses() -> None:
    with pytest.raises(WrongSettings) as wrong:
        await supervise(tuple(PROCESSES), load_settings(), asyncio.Event(), Health("all"))

    variables = {one.partition(" ")[0] for one in wrong.value.sentences}
    assert variables > {"CREDITWELL_KAFKA", "CREDITWELL_STRIPE_KEY", "CREDITWELL_SIGNING_KEY", "CREDITWELL_JWKS"}
    assert len(variables) == len(wrong.value.sentences)


@pytest.mark.parametrize(
    ("chosen", "missing"),
    [
        ({"tsa_url": "http://tsa.example.com"}, "CREDITWELL_TSA_CA and CREDITWELL_ANCHORS"),
        ({"tsa_url": "http://tsa.example.com", "anchors": "/anchors"}, "CREDITWELL_TSA_CA"),
        ({"witness_url": "https://witness.example.com/w1", "anchors": "/anchors"}, "CREDITWELL_WITNESS_KEY"),
        ({"witness_url": "https://witness.example.com/w1", "witness_key": "w1+0+0"}, "CREDITWELL_ANCHORS"),
    ],
)
def test_a_witness_needs_what_checks_its_word_and_a_place_for_it(
    chosen: dict[str, str], missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        load_settings(**chosen)

    assert f"is set, so set {missing} too." in capsys.readouterr().err


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDITWELL_STRIPE_API", "")

    assert load_settings().stripe_api == "https://api.stripe.com"


def test_secrets_may_lie_in_files_and_a_variable_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "creditwell_stripe_key").write_text("rk_from_file\n")
    (tmp_path / "creditwell_signing_key").write_text("from file\n")
    monkeypatch.setenv("CREDITWELL_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("CREDITWELL_SIGNING_KEY", "from variable")

    settings = load_settings()

    assert (settings.needed("stripe_key"), settings.needed("signing_key")) == ("rk_from_file", "from variable")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().kafka = "other:9092"  # type: ignore[misc]


def test_every_setting_says_what_it_is_and_gives_an_example() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.examples, name


def test_every_setting_whose_name_sounds_secret_is_kept_secret() -> None:
    for name, field in Settings.model_fields.items():
        if name.endswith(("_key", "_secret", "_password")) and name not in ("public_key", "witness_key"):
            assert field.annotation == SecretStr | None, name


def test_a_misspelt_variable_is_named_with_what_was_probably_meant() -> None:
    environment = {"CREDITWELL_STRPE_KEY": "x", "CREDITWELL_KAFKA": "x", "PATH": "x", **dict.fromkeys(OTHERS, "x")}

    assert unknown_variables(environment) == [
        "CREDITWELL_STRPE_KEY is not a setting; did you mean CREDITWELL_STRIPE_KEY?"
    ]


def test_no_secret_is_in_a_repr_or_in_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert CANARY not in f"{settings!r} {settings} {settings.model_dump_json()}"

    monkeypatch.setenv("CREDITWELL_DATABASE", f"mysql://u:{CANARY}@h/d")
    with pytest.raises(SystemExit):
        load_settings()
    assert CANARY not in capsys.readouterr().err


@pytest.fixture
def _logs() -> Iterator[None]:
    """Logging as it was, afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("_logs")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_secret_gets_into_a_log_line_whoever_writes_it(
    log_format: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(log_format=log_format)
    configure_logs(settings, "probe")

    get_log().info(
        "connecting", url=settings.needed("database"), key=settings.stripe_key, note=settings.needed("signing_key")
    )
    logging.getLogger("a.library").warning("refused %s", settings.needed("stripe_key"))
    try:
        raise ValueError(settings.needed("stripe_webhook_secret").split(",")[1])
    except ValueError:
        get_log().exception("failed")

    said = capsys.readouterr().err
    assert CANARY not in said
    assert "connecting" in said
    assert "refused" in said
    assert "ValueError" in said


@pytest.mark.usefixtures("_logs")
def test_insecure_development_is_the_first_field_of_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs(load_settings(insecure_dev=True, log_format="json"), "probe")
    get_log().info("one", team_id="team_1")
    logging.getLogger("a.library").warning("two")
    configure_logs(load_settings(insecure_dev=True, log_format="console"), "probe")
    get_log().info("three")
    configure_logs(load_settings(log_format="json"), "probe")
    get_log().info("four")

    one, two, three, four = capsys.readouterr().err.splitlines()
    assert list(json.loads(one)) == ["insecure_dev", "at", "level", "process", "event", "team_id"]
    assert next(iter(json.loads(two))) == "insecure_dev"
    assert three.startswith("insecure_dev=True ")
    assert "insecure_dev" not in four


def asking(health: Health) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(health_app(health)), base_url="http://probe")


class Hours:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


async def test_stuck_means_that_work_waits_and_nothing_moves_while_the_world_is_there() -> None:
    clock = Hours()
    health = Health("probe", now=clock)
    client = asking(health)

    clock.seconds = 3600.0  # an idle hour is nobody's fault
    health.lag("facts", 10)
    assert (await client.get("/healthz")).status_code == 200
    clock.seconds += STUCK_SECONDS + 1
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()["stuck"]) == (503, ["facts"])
    health.beat("facts")
    assert (await client.get("/healthz")).status_code == 200

    clock.seconds += STUCK_SECONDS + 1
    health.away("database", OSError("connection refused"))
    assert (await client.get("/healthz")).status_code == 200
    health.back("database")
    clock.seconds += STUCK_SECONDS - 1
    assert (await client.get("/healthz")).status_code == 200
    clock.seconds += 2
    assert (await client.get("/healthz")).status_code == 503

    health.lag("facts", 0)
    assert (await client.get("/healthz")).status_code == 200


async def test_ready_means_that_the_process_said_so_and_everything_it_needs_is_there() -> None:
    health = Health("probe")
    client = asking(health)

    assert (await client.get("/readyz")).status_code == 503
    health.ready()
    assert (await client.get("/readyz")).status_code == 200
    health.away("kafka", OSError("no brokers"))
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["away"]) == (503, {"kafka": "no brokers"})
    health.back("kafka")
    assert (await client.get("/readyz")).status_code == 200


async def test_metrics_say_lag_progress_readiness_and_no_team() -> None:
    clock = Hours()
    health = Health("probe", now=clock)
    health.lag("facts", 7)
    clock.seconds = 5

    text = (await asking(health).get("/metrics")).text

    assert 'creditwell_lag{process="probe",work="facts"} 7.0' in text
    assert 'creditwell_progress_age_seconds{process="probe",work="facts"} 5.0' in text
    assert 'creditwell_ready{process="probe"} 0.0' in text
    assert "team" not in text
