"""Witnesses outside give their word on anchors, and whatever one of them does, signing goes on (invariant 5)."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID
from rfc3161_client import HashAlgorithm, TimestampRequestBuilder
from typer.testing import CliRunner

from services.audit import signer
from services.audit.anchors import anchors_in, read_anchor, write_anchor
from services.audit.checkpoints import base64_of
from services.audit.outside.asking import Witnessing
from services.audit.outside.cosignatures import Cosigner, CosigningWitness
from services.audit.outside.timestamps import TimestampAuthority, TimestampService, authorities_in
from services.audit.outside.witness import Anchored, WitnessFailed, word_beside
from services.audit.sign_log import path_of_note, sign_log
from services.audit.verify import verify
from services.cli import app
from services.runtime.clock import system_clock
from services.runtime.health import Health
from services.runtime.settings import WrongSettings
from services.runtime.settings_loading import load_settings
from services.store.append import append
from services.store.connect import Connection, Pool, connect_pool
from tests.integration.audit.test_signer import new_use, publish
from tests.support.cosigning import CosigningStandIn, a_cosigning_witness
from tests.support.serving import as_role
from tests.support.timestamps import Behaviour, TimestampStandIn, a_timestamp_authority
from tests.support.waiting import until

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    async with await connect_pool(
        f"{database}?role=creditwell_signer", process="signer", size=1, projections=False
    ) as pool:
        yield pool


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[TimestampStandIn]:
    with a_timestamp_authority(tmp_path / "authority") as authority:
        yield authority


@pytest.fixture
def witness() -> Iterator[CosigningStandIn]:
    with a_cosigning_witness() as witness:
        yield witness


async def anchored(connection: Connection, folder: Path, number: int) -> Anchored:
    """One more fact, signed and anchored."""
    async with connection.transaction():
        await append(connection, [new_use(number)])
    signed = await sign_log(connection, KEY, NOW + timedelta(seconds=number))
    assert signed is not None
    file = write_anchor(folder, signed, await path_of_note(connection, signed.number))
    return Anchored(read_anchor(file), signed)


def asking_of(pool: Pool, folder: Path, health: Health) -> Witnessing:
    return Witnessing(pool, folder, system_clock, health, answer_seconds=300)  # whatever else this machine does


async def ask(asking: Witnessing, witness: TimestampService | CosigningWitness) -> None:
    async with httpx2.AsyncClient(timeout=300, trust_env=False) as http:
        await asking.round(witness, http)


def words(folder: Path, suffix: str) -> list[str]:
    return sorted(file.name for file in folder.glob(f"*{suffix}"))


def test_a_timestamp_with_a_certificate_that_is_none_is_no_word(authority: TimestampStandIn) -> None:
    asked = TimestampRequestBuilder().data(b"anchor").hash_algorithm(HashAlgorithm.SHA256)
    query = asked.cert_request(cert_request=True).build().as_bytes()
    word, stamping = authority.answer(query), TimestampAuthority(authorities_in(authority.ca))
    third_version = b"\xa0\x03\x02\x01\x02"
    first, second = word.index(third_version), word.rindex(third_version)
    assert first < second, "the authority's own certificate, and that of who certified it"

    for at in (first, second):
        with pytest.raises(WitnessFailed):
            stamping.check("anchor", word[:at] + b"\xa0\x03\x02\x01\x68" + word[at + len(third_version) :])

    assert stamping.check("anchor", word) <= datetime.now(UTC)


async def test_both_give_their_word_on_an_anchor_and_verify_says_so(
    connection: Connection, pool: Pool, authority: TimestampStandIn, witness: CosigningStandIn, tmp_path: Path
) -> None:
    began = datetime.now(UTC).replace(microsecond=0)
    shown = await anchored(connection, tmp_path, 1)
    witness.logs[shown.signed.checkpoint.origin] = KEY.public_key()
    stamping, cosigner = TimestampAuthority(authorities_in(authority.ca)), Cosigner.parse(witness.verifier_key)
    health = Health("signer")
    asking = asking_of(pool, tmp_path, health)
    await ask(asking, TimestampService(authority.url, stamping))
    await ask(asking, CosigningWitness(witness.url, cosigner))

    verified = await verify(connection, anchors=tmp_path, keys=[KEY.public_key()], attestors=[stamping, cosigner])

    assert verified.problems == []
    [stamped, cosigned] = verified.witnesses.values()
    assert stamped is not None
    assert cosigned is not None
    assert began <= stamped.at <= datetime.now(UTC)
    assert began <= cosigned.at <= datetime.now(UTC)
    assert verified.basis == (
        f"anchored outside, newest at 2026-11-23 10:00:01 UTC; by timestamp authority, newest at {stamped.at:%F %T} UTC; "
        f"by witness witness.example/w1, newest at {cosigned.at:%F %T} UTC"
    )
    for name in ("timestamp authority", "witness witness.example/w1"):
        at = health.registry.get_sample_value("creditwell_witnessed_timestamp_seconds", {"witness": name})
        assert at == shown.signed.vector.signed_at.timestamp()
    [anchor] = anchors_in(tmp_path)
    arguments: list[str | Path] = ["-data", anchor, "-in", word_beside(anchor, stamping), "-CAfile", authority.ca]
    subprocess.run(["openssl", "ts", "-verify", *arguments], check=True, capture_output=True)

    await ask(asking, TimestampService(authority.url, stamping))
    assert authority.asked == 1  # what is there is not asked for again


@pytest.mark.parametrize(
    ("behaviour", "why"),
    [
        ("refuses", "the authority refused: status 2"),
        ("another nonce", "Nonce mismatch"),
        ("another imprint", "Mismatch between messages"),
        ("no answer of its kind", "it answered 200 'text/html'"),
        ("endless", "its answer is longer than 65536 bytes"),
    ],
)
async def test_an_authority_that_misbehaves_gives_no_word_and_is_asked_again(
    connection: Connection, pool: Pool, authority: TimestampStandIn, tmp_path: Path, behaviour: Behaviour, why: str
) -> None:
    await anchored(connection, tmp_path, 1)
    health = Health("signer")
    asking = asking_of(pool, tmp_path, health)
    service = TimestampService(authority.url, TimestampAuthority(authorities_in(authority.ca)))
    authority.behaviour = behaviour

    await ask(asking, service)
    await ask(asking, service)

    assert why in asking.failed["timestamp authority"]
    labels = {"what": "timestamp authority", "error": "WitnessFailed"}
    assert health.registry.get_sample_value("creditwell_away_total", labels) == 2
    assert health.absent == {}  # nobody is unready for it
    assert words(tmp_path, ".tsr") == []

    authority.behaviour = "honest"
    await ask(asking, service)
    assert asking.failed == {}
    assert len(words(tmp_path, ".tsr")) == 1


async def test_signing_goes_on_while_an_authority_is_silent(
    connection: Connection, database: str, authority: TimestampStandIn, tmp_path: Path
) -> None:
    authority.behaviour = "silent"
    folder = tmp_path / "anchors"
    folder.mkdir()
    settings = load_settings(
        database=f"{database}?role=creditwell_signer", signing_key=base64_of(KEY.private_bytes_raw()), anchors=folder,
        sign_every_seconds=1, anchor_every_seconds=1, tsa_url=authority.url, tsa_ca=authority.ca,
    )  # fmt: skip
    async with connection.transaction():
        await append(connection, [new_use(1)])
    await publish(connection)
    stop = asyncio.Event()
    running = asyncio.create_task(signer.serve(settings, stop, Health("signer")))

    async def asked() -> bool:
        return running.done() or authority.asked > 0

    await until(asked, what="the authority is asked")
    before = len(anchors_in(folder))

    async def went_on() -> bool:
        return running.done() or len(anchors_in(folder)) > before

    await until(went_on, what="one more anchor")
    stop.set()
    await running  # a question that hangs holds nobody up
    assert words(folder, ".tsr") == []


async def test_a_timestamp_of_another_anchor_or_by_a_stranger_is_a_finding(
    connection: Connection, pool: Pool, authority: TimestampStandIn, tmp_path: Path
) -> None:
    stamping = TimestampAuthority(authorities_in(authority.ca))
    asking = asking_of(pool, tmp_path, Health("signer"))
    for number in (1, 2):
        await anchored(connection, tmp_path, number)
        await ask(asking, TimestampService(authority.url, stamping))
    first, second = (word_beside(file, stamping) for file in anchors_in(tmp_path))
    with a_timestamp_authority(tmp_path / "stranger") as stranger:
        unknown = TimestampAuthority(authorities_in(stranger.ca))

    second.write_bytes(first.read_bytes())
    verified = await verify(connection, anchors=tmp_path, attestors=[stamping])
    assert [problem.place for problem in verified.problems] == [f"anchor {second.name}"]
    assert verified.witnesses["timestamp authority"] is not None  # the older one holds

    verified = await verify(connection, anchors=tmp_path, attestors=[unknown])
    assert [problem.place for problem in verified.problems] == [f"anchor {second.name}"]
    assert verified.witnesses == {"timestamp authority": None}


async def test_a_certificate_for_something_else_stamps_no_time(
    connection: Connection, pool: Pool, tmp_path: Path
) -> None:
    await anchored(connection, tmp_path, 1)
    asking = asking_of(pool, tmp_path, Health("signer"))
    with a_timestamp_authority(tmp_path / "web", usage=ExtendedKeyUsageOID.SERVER_AUTH) as web:
        await ask(asking, TimestampService(web.url, TimestampAuthority(authorities_in(web.ca))))

    assert words(tmp_path, ".tsr") == []
    assert asking.failed


async def test_a_witness_cosigns_what_continues_and_says_where_it_is(
    connection: Connection, pool: Pool, witness: CosigningStandIn, tmp_path: Path
) -> None:
    cosigner = Cosigner.parse(witness.verifier_key)
    asking = asking_of(pool, tmp_path, Health("signer"))
    asked = CosigningWitness(witness.url, cosigner)
    first = await anchored(connection, tmp_path, 1)
    await ask(asking, asked)
    assert "it does not know this log" in asking.failed[cosigner.name]

    witness.logs[first.signed.checkpoint.origin] = KEY.public_key()
    for number in range(2, 7):
        await ask(asking, asked)
        await anchored(connection, tmp_path, number)
    await anchored(connection, tmp_path, 7)  # nobody asked about the sixth
    await ask(asking, asked)
    assert witness.asked == [404, *[200] * 6]

    await anchored(connection, tmp_path, 8)
    await ask(asking, CosigningWitness(witness.url, cosigner))  # a process that knows of no note
    assert witness.asked[-2:] == [409, 200]
    assert asking.failed == {}
    assert [name[:20] for name in words(tmp_path, ".cosigned")] == [
        f"{number:020d}" for number in (1, 2, 3, 4, 5, 7, 8)
    ]
    verified = await verify(connection, anchors=tmp_path, keys=[KEY.public_key()], attestors=[cosigner])
    assert verified.problems == []


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (9, "it has cosigned checkpoint 9, newer than 3: facts were taken away, or an old backup was restored"),
        (3, "it has cosigned another note of this number: somebody rewrote the past"),
        (2, "what it cosigned before is not the beginning of this log: somebody rewrote the past"),
    ],
)
async def test_a_witness_that_has_seen_another_past_says_so(
    connection: Connection, pool: Pool, witness: CosigningStandIn, tmp_path: Path, seen: int, why: str
) -> None:
    for number in range(1, 4):
        shown = await anchored(connection, tmp_path, number)
    witness.logs[shown.signed.checkpoint.origin] = KEY.public_key()
    witness.cosigned[shown.signed.checkpoint.origin] = (seen, bytes(32))
    asking = asking_of(pool, tmp_path, Health("signer"))
    cosigner = Cosigner.parse(witness.verifier_key)

    await ask(asking, CosigningWitness(witness.url, cosigner))

    assert why in asking.failed[cosigner.name]
    assert words(tmp_path, ".cosigned") == []


async def test_the_command_wants_the_words_that_it_is_asked_for(
    connection: Connection,
    pool: Pool,
    database: str,
    authority: TimestampStandIn,
    witness: CosigningStandIn,
    tmp_path: Path,
) -> None:
    await anchored(connection, tmp_path, 1)
    stamping = TimestampAuthority(authorities_in(authority.ca))
    await ask(asking_of(pool, tmp_path, Health("signer")), TimestampService(authority.url, stamping))
    public = base64_of(KEY.public_key().public_bytes_raw())
    common = ["verify", "--json", "--public-key", public, "--max-unsigned", "999999h", "--tsa-ca", str(authority.ca)]
    environment = {"CREDITWELL_DATABASE": as_role(database, "reader"), "CREDITWELL_LOG_FORMAT": "json"}

    async def run(*more: str) -> tuple[int, str]:
        result = await asyncio.to_thread(CliRunner().invoke, app, [*common, *more], env=environment)
        return result.exit_code, result.stdout

    code, printed = await run("--anchors", str(tmp_path))
    assert (code, list(json.loads(printed)["witnesses"])) == (0, ["timestamp authority"])
    code, printed = await run("--anchors", str(tmp_path), "--witness-key", witness.verifier_key)
    [problem] = json.loads(printed)["problems"]
    assert (code, problem["place"]) == (1, "witness witness.example/w1")
    assert (await run())[0] == 2  # no folder, so no words
    assert (await run("--anchors", str(tmp_path), "--witness-key", "w1"))[0] == 2


@pytest.mark.parametrize(
    ("setting", "why"),
    [("tsa_ca", "CREDITWELL_TSA_CA is wrong"), ("witness_key", "CREDITWELL_WITNESS_KEY is wrong: .* is not the")],
)
async def test_the_signer_does_not_start_with_a_witness_that_nobody_could_check(
    authority: TimestampStandIn, witness: CosigningStandIn, tmp_path: Path, setting: str, why: str
) -> None:
    (tmp_path / "nothing.pem").write_text("nothing")
    wrong = {"tsa_ca": tmp_path / "nothing.pem", "witness_key": f"other{witness.verifier_key}"}
    right = {"tsa_ca": authority.ca, "witness_key": witness.verifier_key}
    settings = load_settings(
        database="postgresql://nobody@localhost/nothing", signing_key=base64_of(KEY.private_bytes_raw()),
        anchors=tmp_path, tsa_url=authority.url, witness_url=witness.url, **{**right, setting: wrong[setting]},
    )  # fmt: skip

    with pytest.raises(WrongSettings, match=why):
        await signer.serve(settings, asyncio.Event(), Health("signer"))
