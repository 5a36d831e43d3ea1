"""The command line: what it says to people and to scripts, and its exit codes."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner, Result

from schemas.catalog import load_catalog
from schemas.credits import MICRO
from schemas.facts import CreditsGranted, NewFact, UsageRecorded
from services.api.tokens import TokenRole
from services.audit.checkpoints import new_key_pair, parse_public_key, parse_signing_key
from services.audit.sign_log import sign_log
from services.cli import app
from services.credits.plans import assign_plan
from services.credits.rate_cards import seed_catalog
from services.runtime.processes import PROCESSES
from services.store.append import append
from services.store.connect import Connection
from services.store.schema_check import functions, migrations
from services.store.shards import shard_of
from tests.support.eleven import migrated_by_the_eleven
from tests.support.usage import binary, raw, reported, structured, used
from tests.support.waiting import until
from tests.support.world import ServiceWorld

READER = "?role=creditwell_reader"


def run(*arguments: str, **environment: str) -> Result:
    given = {f"CREDITWELL_{name.upper()}": value for name, value in environment.items()}
    return CliRunner().invoke(app, [*arguments], env={"CREDITWELL_LOG_FORMAT": "json", **given})


def unwrapped(shown: str) -> str:
    """What a table says, its lines as one."""
    return " ".join(shown.split())


def on(database: str, work: Callable[[Connection], Awaitable[object]]) -> None:
    async def connected() -> None:
        connection = await asyncpg.connect(database)
        try:
            await work(connection)
        finally:
            await connection.close()

    asyncio.run(connected())


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("refused show usage:3:99999999999999999999", "is no place: write topic:partition:offset"),
        ("refused show usage:99999999999:1", "is no place: write topic:partition:offset"),
        ("prove 99999999999999999999:1", "is no entry: write shard:position"),
        ("prove 1:99999999999999999999:5", "is no entry: write shard:position"),
        ("replay --from 63:99999999999999999999", "--from: '63:99999999999999999999' is no instant"),
        ("statement team_1 0001-01-01", "the year of 0001-01-01 can't be meant"),
        ("statement team_1 9999-12-31", "the year of 9999-12-31 can't be meant"),
        ("export events --out /proc/nowhere", "/proc/nowhere: No such file or directory"),
        ("export events --out /dev/full/folder", "/dev/full/folder"),
    ],
)
async def test_what_is_beyond_every_bound_is_said_in_a_sentence(world: ServiceWorld, command: str, words: str) -> None:
    await world.team("team_1")

    asked = await asyncio.to_thread(run, *command.split(), database=world.database)

    assert asked.exit_code == 2, asked.output
    assert words in unwrapped(asked.stderr)
    assert "Traceback" not in asked.stderr


async def test_refused_usage_is_sent_again_when_what_was_wrong_is_put_right(world: ServiceWorld) -> None:
    big = structured(reported("team_1", "big") | {"comment": "x" * 2**20})
    async with world.recorder():
        await world.send(used("team_1", "structured"), binary(reported("team_1", "binary")), raw(b"no usage"), big)
        await world.recorded()
        await world.team("team_1")
        retry = partial(run, "refused", "retry", database=world.database, kafka=world.stack.kafka)

        sent = await asyncio.to_thread(retry, "--reason", "unknown_team", "--json")

        assert (sent.exit_code, len(json.loads(sent.stdout)["sent"])) == (0, 2), sent.stderr

        async def both() -> bool:
            return sorted(await world.usage_ids()) == ["binary", "structured"]

        await until(both, what="the usage is recorded")
        again = await asyncio.to_thread(retry, "--all", "--json")
        said = json.loads(again.stdout)
        assert (again.exit_code, len(said["sent"]), len(said["truncated"])) == (1, 3, 1)
    assert sorted(await world.usage_ids()) == ["binary", "structured"]
    assert (await asyncio.to_thread(retry)).exit_code == 2
    place = said["sent"][0]
    topic, partition, offset = place.split(":")
    erase = "SELECT erase_refused_bytes($1, $2, $3, 'ops', 'a person asked')"
    assert await world.connection.fetchval(erase, topic, int(partition), int(offset))
    named = await asyncio.to_thread(retry, place)
    assert (named.exit_code, f"{place}: its bytes are gone" in named.stdout) == (1, True)
    others = json.loads((await asyncio.to_thread(retry, "--all", "--json")).stdout)
    assert (place in others["sent"], others["gone"]) == (False, [])
    assert "usage:0:999: nothing was refused there" in (await asyncio.to_thread(retry, "usage:0:999")).stdout
    gone = await asyncio.to_thread(partial(retry, kafka="127.0.0.1:1"), "--all")
    assert (gone.exit_code, "Kafka does not answer" in gone.stderr) == (3, True)


@pytest.fixture
def company(database: str) -> str:
    """A team with a plan, a gift and a usage; one refused record."""

    async def happen(connection: Connection) -> None:
        async with connection.transaction():
            await seed_catalog(connection, load_catalog())
            await assign_plan(connection, load_catalog(), "team_1", "pro")
            used = UsageRecorded(
                feature="ai_video.generate",
                quantity="12.5",
                credits=250 * MICRO,
                rate_card=1,
                member_id="mem_7",
                attributes={"tier": "high"},
            )
            await append(connection, [
                NewFact("team_1", "s", "gift", datetime.now(UTC), CreditsGranted(credits=100 * MICRO, reason="welcome")),
                NewFact("team_1", "s", "use", datetime.now(UTC), used),
            ])  # fmt: skip
        await connection.execute(
            """WITH refused AS (
                INSERT INTO refused (topic, partition, "offset", refused_at, reason, team_id, sha256, size)
                VALUES ('usage', 3, 1042, now(), 'not_json', 'team_1', '', 15)
            )
            INSERT INTO refused_bytes (topic, partition, "offset", refused_at, detail, team_id, value, headers)
            VALUES ('usage', 3, 1042, now(), 'it ends too early', 'team_1', '{"specversion":', '[["n", "AAE="]]')"""
        )

    on(database, happen)
    return database


def test_migrate_brings_an_empty_database_up_to_date_and_seeds_the_rate_card_once(stack: Any, database: str) -> None:
    on(database, lambda connection: connection.execute("DROP SCHEMA public, analytics CASCADE; CREATE SCHEMA public"))

    first, second = (run("migrate", "--json", database=database) for _ in range(2))

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert json.loads(first.stdout)["applied"] == [*migrations(), *functions()]
    assert json.loads(first.stdout)["seeded_rate_card"]
    assert json.loads(second.stdout) == {
        "applied": [], "projections": {"balance": 1, "activity": 1, "usage": 1}, "seeded_rate_card": False,
    }  # fmt: skip


def test_migrate_ends_well_beside_the_projections_of_another_build_and_says_who_makes_ours(
    stack: Any, database: str
) -> None:
    on(database, lambda connection: connection.execute("UPDATE projections SET sha256 = 'another'"))

    migrated = run("migrate", database=database)
    rebuilt = run("rebuild", "usage", "--json", database=database)
    again = run("migrate", database=database)

    assert (migrated.exit_code, rebuilt.exit_code, again.exit_code) == (0, 0, 0), rebuilt.stderr
    assert "on every core by `creditwell rebuild all`" in " ".join(migrated.stdout.split())
    assert "rebuild all" not in again.stdout


def test_migrate_refuses_a_database_of_the_eleven_migrations_before_the_release(stack: Any, database: str) -> None:
    on(database, migrated_by_the_eleven)

    migrated = run("migrate", database=database)

    assert (migrated.exit_code, migrated.stdout) == (1, "")
    assert "an earlier build made the database" in migrated.stderr
    assert "begin with a new database" in migrated.stderr


def test_balance_and_activity_are_readable_by_people_and_by_scripts(company: str) -> None:
    balance = run("balance", "team_1", database=company + READER)
    assert balance.exit_code == 0, balance.stderr
    assert "2850" in balance.stdout
    said = json.loads(run("balance", "team_1", "--json", database=company + READER).stdout)
    assert (said["total"], said["included"], said["additional"]) == ("2850", "2750", "100")

    activity = run("activity", "team_1", "--json", database=company + READER)
    assert [(one["type"], one["credits"]) for one in json.loads(activity.stdout)["items"]] == [
        ("usage", "-250"), ("grant", "100"), ("refill", "3000"),
    ]  # fmt: skip
    for span, count in ((("--from", "2000-01-01"), 3), (("--until", "2000-01-01"), 0)):
        shown = run("activity", "team_1", *span, "--json", database=company + READER)
        assert len(json.loads(shown.stdout)["items"]) == count, shown.stderr
    assert run("activity", "team_1", "--from", "2001-01-01", "--until", "2000-01-01").exit_code == 2
    table = run("activity", "team_1", database=company + READER).stdout
    assert "mem_7" in table
    assert "-250" in table


def test_a_balance_can_be_had_as_of_then(company: str) -> None:
    now, tomorrow = datetime.now(UTC), (datetime.now(UTC) + timedelta(days=1)).isoformat()

    then = run("balance", "team_1", "--at", now.isoformat(), "--json", database=company + READER)
    before = run("balance", "team_1", "--at", "2020-01-01", database=company + READER)

    assert json.loads(then.stdout)["total"] == "2850"
    for option in ("--at", "--known-at"):
        ahead = run("balance", "team_1", option, tomorrow, database=company + READER)
        assert (ahead.exit_code, "has not come yet" in ahead.stderr) == (2, True)
    assert (before.exit_code, "there is no team 'team_1' by then" in before.stderr) == (2, True)


def test_refused_records_are_listed_and_shown_with_their_bytes(company: str) -> None:
    listed = json.loads(run("refused", "list", "--json", database=company + READER).stdout)
    assert [(one["reason"], one["place"]) for one in listed["items"]] == [("not_json", "usage:3:1042")]
    assert listed["reasons"] == {"not_json": 1}
    assert "it ends too early" in run("refused", "list", "--team", "team_1", database=company + READER).stdout

    shown = run("refused", "show", "usage:3:1042", "--json", database=company + READER)
    assert json.loads(shown.stdout)["value"] == '{"specversion":'
    assert '{"specversion":' in run("refused", "show", "usage:3:1042", database=company + READER).stdout
    assert run("refused", "show", "usage:3:1043", database=company + READER).exit_code == 2
    assert run("refused", "show", "somewhere", database=company + READER).exit_code == 2


def test_the_bytes_of_a_refused_record_are_erased_with_a_reason_and_what_reads_them_says_so(company: str) -> None:
    erase = partial(run, "refused", "erase", "usage:3:1042", "--by", "ticket-7", "--reason", "a person asked")

    assert erase(database=company + READER).exit_code == 2
    assert [erase(database=company).exit_code for _ in range(2)] == [0, 1]

    shown = json.loads(run("refused", "show", "usage:3:1042", "--json", database=company + READER).stdout)
    assert (shown["value"], shown["headers"], shown["detail"]) == (None, [], None)
    assert shown["bytes"].endswith("by ticket-7: a person asked")
    assert (shown["reason"], shown["size"]) == ("not_json", 15)
    listed = json.loads(run("refused", "list", "--json", database=company + READER).stdout)
    assert [(one["reason"], one["detail"]) for one in listed["items"]] == [("not_json", None)]
    on(company, lambda connection: connection.execute("DELETE FROM refused_bytes"))
    shown = json.loads(run("refused", "show", "usage:3:1042", "--json", database=company + READER).stdout)
    assert shown["bytes"] == "no longer kept: CREDITWELL_REFUSED_BYTES_DAYS are over"


def test_verify_exits_0_on_an_honest_log_and_1_with_the_place_on_another(company: str, tmp_path: Path) -> None:
    secret, public = new_key_pair()
    on(company, lambda connection: sign_log(connection, parse_signing_key(secret), datetime.now(UTC)))

    honest = run("verify", "--json", "--public-key", public, database=company + READER)
    said = json.loads(honest.stdout)
    assert (honest.exit_code, said["ok"], said["signatures"], said["problems"]) == (0, True, "checked", [])
    assert said["basis"] == f"signed by {said['signed_by']}"
    newer = run("verify", "--from-checkpoint", "1", "--public-key", public, database=company + READER)
    assert (newer.exit_code, "verified before" in newer.stdout) == (0, True)
    unchecked = run("verify", "--unsigned", database=company + READER)
    assert unchecked.exit_code == 0
    assert "the log is what was recorded: consistent with itself" in unchecked.stdout
    for options, lacking in (
        ([], "no key is known: give --public-key, or --unsigned to do without"),
        (["--public-key", public, "--anchors", str(tmp_path)], "the folder has none that holds"),
        (["--public-key", public, "--max-unsigned", "0s"], "older than --max-unsigned"),
        (["--public-key", new_key_pair()[1]], "it was not signed by a known key"),
        (["--from-checkpoint", "7"], "the log has no checkpoint 7"),
    ):
        lacks = run("verify", *options, database=company + READER)
        assert (lacks.exit_code, lacking in unwrapped(lacks.stdout + lacks.stderr)) == (1, True), options
    proved = run("prove", f"{shard_of('team_1')}:2:0", database=company + READER)
    assert (proved.exit_code, json.loads(proved.stdout)["fact"]["team_id"]) == (0, "team_1")
    proof, other = tmp_path / "proof.json", tmp_path / "other.json"
    proof.write_text(proved.stdout)
    other.write_bytes(b"\xff")
    offline = run("verify", str(proof), "--public-key", public)
    assert (offline.exit_code, "it is in the signed log" in offline.stdout) == (0, True)
    mixed = run("verify", str(proof), str(other), "--public-key", public, "--json")
    assert (mixed.exit_code, [file["ok"] for file in json.loads(mixed.stdout)["files"]]) == (1, [True, False])
    assert run("verify", str(proof)).exit_code == 2
    assert run("prove", "nonsense", database=company + READER).exit_code == 2
    assert run("prove", "0:99", database=company + READER).exit_code == 1
    wrong = run("verify", "--max-unsigned", "soon", database=company + READER)
    assert (wrong.exit_code, "write 90s, 10m, 2h or 1d" in wrong.stderr) == (2, True)

    on(
        company,
        lambda connection: connection.execute(
            "ALTER TABLE facts DISABLE TRIGGER ALL; UPDATE facts SET occurred_at = now() WHERE team_id = 'team_1' AND position = 2"
        ),
    )
    changed = run("verify", "--unsigned", database=company + READER)
    assert changed.exit_code == 1
    assert f"{shard_of('team_1')}:2" in changed.stdout
    assert "was changed after it was recorded" in unwrapped(changed.stdout)


def test_replay_exits_0_when_projections_agree_and_1_with_the_place_when_not(company: str) -> None:
    agreed = run("replay", "--json", database=company + READER)
    said = json.loads(agreed.stdout)
    assert (agreed.exit_code, said["ok"], said["facts"], said["behind"]) == (0, True, 0, 5)  # no projector has run yet

    on(
        company,
        lambda connection: connection.execute(
            "INSERT INTO usage_v1 VALUES ($1, 'team_1', '2026-11-23', '', '{\"f\": [7, 1]}')",
            shard_of("team_1"),
        ),
    )
    differing = run("replay", database=company + READER)
    assert differing.exit_code == 1
    assert (
        "usage of team_1, day 2026-11-23 feature f member_id : the row should be nothing and is a row"
        in differing.stdout
    )


def test_a_token_is_minted_in_development_alone() -> None:
    minted = run(
        "token", "--team", "team_1", "--member", "mem_1", "--role", TokenRole.ADMIN, "--json", insecure_dev="1"
    )
    assert json.loads(minted.stdout)["token"].count(".") == 2
    refused = run("token", "--team", "team_1", "--member", "mem_1")
    assert (refused.exit_code, "not_development" in refused.stderr) == (2, True)
    assert run("token", "--team", "team_1", "--member", "mem_1", "--role", "king", insecure_dev="1").exit_code == 2
    everywhere = run("token", "--team", "*", "--member", "mem_1", insecure_dev="1")
    assert (everywhere.exit_code, "belongs to one team" in everywhere.stderr) == (2, True)
    assert (
        run("token", "--team", "*", "--member", "fin_1", "--role", TokenRole.FINANCE, insecure_dev="1").exit_code == 0
    )


def test_a_signing_key_comes_with_its_public_half() -> None:
    pair = json.loads(run("signing-key", "--json").stdout)
    assert parse_signing_key(pair["signing_key"])
    labelled = dict(line.split("=", 1) for line in run("signing-key").stdout.split())
    private, public = labelled["CREDITWELL_SIGNING_KEY"], labelled["CREDITWELL_PUBLIC_KEY"]
    raw_public = parse_signing_key(private).public_key().public_bytes_raw()
    assert parse_public_key(public).public_bytes_raw() == raw_public


def test_what_is_used_wrongly_exits_2_and_says_what_to_write(company: str) -> None:
    for arguments, said in (
        (["serve", "everything"], f"write one of {', '.join(PROCESSES)}, all"),
        (["balance", "team_2"], "there is no team 'team_2'"),
        (["activity", "team_2"], "there is no team 'team_2'"),
        (["replay", "--team", "team_2"], "there is no team 'team_2'"),
        (["balance", "team_1", "--at", "yesterday"], "'yesterday' is no instant"),
        (["verify", "--anchors", "/nowhere"], "/nowhere is not a folder"),
        (["verify", "--public-key", "x"], "'x' is not an Ed25519 public key"),
    ):
        result = run(*arguments, database=company + READER)
        assert (result.exit_code, said in result.stderr) == (2, True), (arguments, result.stderr)
    wrong_password = company.replace("postgres:", "postgres:not-")
    for url, said in (
        (wrong_password, "CREDITWELL_DATABASE is wrong: password authentication failed"),
        (f"{company.rpartition('/')[0]}/nowhere", 'database "nowhere" does not exist'),
        (f"{company}?role=creditwell_signer", "may not do that: permission denied"),
    ):
        result = run("balance", "team_1", database=url)
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_a_database_that_does_not_answer_is_neither_wrong_nor_found_wrong() -> None:
    result = run("verify", database="postgresql://u:p@127.0.0.1:1/d")

    assert (result.exit_code, "does not answer" in result.stderr) == (3, True)


def test_every_command_answers_help() -> None:
    for words in (["serve"], ["migrate"], ["token"], ["signing-key"], ["balance"], ["activity"], ["verify"], ["replay"], ["rebuild"],
                  ["refused"], ["refused", "list"], ["refused", "show"], ["demo"]):  # fmt: skip
        result = run(*words, "--help")
        assert result.exit_code == 0, words
        assert "Usage: " in result.stdout


def test_exports_and_archives_are_made_and_checked_by_their_exit_codes(database: str, tmp_path: Path) -> None:
    private, public = new_key_pair()

    async def two_teams(connection: Connection) -> None:
        async with connection.transaction():
            await seed_catalog(connection, load_catalog())
            for team in ("team_1", "team_2"):
                await assign_plan(connection, load_catalog(), team, "pro")
        await sign_log(connection, parse_signing_key(private), datetime.now(UTC))

    on(database, two_teams)
    reader = partial(run, database=database + READER)
    facts, balances, month = tmp_path / "facts", tmp_path / "balances", f"{datetime.now(UTC):%Y-%m}"

    made = reader("export", "events", "--out", str(facts), "--json")
    assert (made.exit_code, json.loads(made.stdout)["there_before"]) == (0, False), made.stderr
    assert "it was there already" in reader("export", "events", "--out", str(facts)).stdout
    table = reader("export", "balances", "--out", str(balances), "--format", "csv")
    assert (table.exit_code, "2 rows" in table.stdout) == (0, True), table.stderr
    for wrong in (
        ("export", "entries", "--out", str(facts)),
        ("export", "events", "--out", str(tmp_path / "csv"), "--format", "csv"),
        ("export", "balances", "--out", str(tmp_path / "late"), "--at", "2999-01-01"),
        ("export", "events", "--out", str(tmp_path / "two"), "--from", "1:1", "--until", "2:1"),
        ("archive", month, str(tmp_path)),
        ("verify", str(facts), "--public-key", "none"),
        ("verify", str(facts)),
    ):
        assert reader(*wrong).exit_code == 2, wrong

    verified = run("verify", str(facts), str(balances), "--public-key", public, "--json")
    assert (verified.exit_code, json.loads(verified.stdout)["problems"]) == (0, []), verified.stderr
    assert "signed by creditwell/" in run("verify", str(facts), "--public-key", public).stdout
    both = reader("verify", str(facts), "--with-database", "--public-key", public, "--max-unsigned", "1d", "--json")
    assert (both.exit_code, json.loads(both.stdout)["problems"]) == (0, []), both.stderr
    assert json.loads(both.stdout)["facts"] == json.loads(made.stdout)["rows"]
    folded = run("replay", str(facts), "--json")
    assert (folded.exit_code, json.loads(folded.stdout)["teams"]) == (0, 2), folded.stderr
    (next(facts.glob("events/*/*"))).unlink()
    assert "it is missing" in unwrapped(run("verify", str(facts), "--public-key", public).stdout)
    assert run("verify", str(facts), "--public-key", public).exit_code == 1
    assert run("replay", str(facts)).exit_code == 1
    assert run("replay", str(facts), "--resume", str(tmp_path / "x")).exit_code == 2
