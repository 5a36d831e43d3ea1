"""The words of witnesses, without a witness: cosignatures made by hand, and what is no answer of an authority."""

import base64
import gzip
from datetime import UTC, datetime

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from services.audit.anchors import note_of, text_of_anchor
from services.audit.checkpoints import Checkpoint, sign, signer_of
from services.audit.notes.tree import consistency, root_over
from services.audit.notes.vectors import Vector
from services.audit.outside.cosignatures import Cosigner
from services.audit.outside.timestamps import TimestampAuthority, with_sorted_certificates
from services.audit.outside.witness import WitnessFailed, post
from services.audit.sign_log import Signed
from services.store.proofs import leaf_of
from tests.support.cosigning import CosigningStandIn, continues

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
AT = datetime(2026, 11, 23, 10, 15, 30, tzinfo=UTC)


def an_anchor() -> str:
    vector = Vector(AT)
    checkpoint = Checkpoint("creditwell/7f9c", 1, vector.leaf_hash)
    return text_of_anchor(Signed(checkpoint, vector, sign(checkpoint, KEY)), [])


@pytest.fixture(scope="module")
def witness() -> CosigningStandIn:
    witness = CosigningStandIn()
    witness.server_close()  # its key is all that is used here
    return witness


def cosigned(witness: CosigningStandIn, anchor: str, seconds: int) -> str:
    note = note_of(anchor)
    line = witness.cosign(note.split("\n\n", maxsplit=1)[0] + "\n", seconds)
    return f"{note}{line}\n"


def test_a_cosignature_says_when_and_the_note_stays_ours(witness: CosigningStandIn) -> None:
    anchor = an_anchor()
    word = cosigned(witness, anchor, int(AT.timestamp()))

    assert Cosigner.parse(witness.verifier_key).check(anchor, word.encode()) == AT
    assert signer_of(word, [KEY.public_key()]) is not None


@given(data=st.data())
def test_whatever_is_changed_in_a_cosignature_it_is_none(witness: CosigningStandIn, data: st.DataObject) -> None:
    anchor = an_anchor()
    word = cosigned(witness, anchor, int(AT.timestamp()))
    text = note_of(anchor).split("\n\n", maxsplit=1)[0]
    line = word.splitlines()[-1]
    changed = data.draw(st.sampled_from([*range(len(text)), *range(len(word) - len(line) - 1, len(word) - 1)]))
    other = data.draw(st.sampled_from("AZaz09+/=\n —").filter(lambda character: character != word[changed]))

    with pytest.raises(WitnessFailed):
        Cosigner.parse(witness.verifier_key).check(anchor, (word[:changed] + other + word[changed + 1 :]).encode())


def test_a_cosignature_is_written_in_one_way(witness: CosigningStandIn) -> None:
    anchor = an_anchor()
    word = cosigned(witness, anchor, int(AT.timestamp()))
    assert word.endswith("==\n")  # so four bits of the last letter are nobody's
    same_bytes = word[:-4] + chr(ord(word[-4]) + 1) + word[-3:]
    assert base64.b64decode(same_bytes.split(" ")[-1]) == base64.b64decode(word.split(" ")[-1])

    with pytest.raises(WitnessFailed):
        Cosigner.parse(witness.verifier_key).check(anchor, same_bytes.encode())


@pytest.mark.parametrize("seconds", [2**63 - 1, 2**64 - 1])
def test_a_time_that_no_calendar_has_is_no_cosignature(witness: CosigningStandIn, seconds: int) -> None:
    anchor = an_anchor()
    with pytest.raises(WitnessFailed):
        Cosigner.parse(witness.verifier_key).check(anchor, cosigned(witness, anchor, seconds).encode())


def test_what_is_no_key_of_a_witness_is_refused(witness: CosigningStandIn) -> None:
    name, key_id, key = witness.verifier_key.split("+", maxsplit=2)
    ed25519 = base64.b64encode(b"\x01" + base64.b64decode(key)[1:]).decode()
    for text in ("", key, f"{name}+00000000+{key}", f"{name}+{key_id}+{ed25519}", f"other+{key_id}+{key}"):
        with pytest.raises(ValueError, match="of a witness"):
            Cosigner.parse(text)


@given(answer=st.binary(max_size=300))
def test_what_is_no_answer_of_an_authority_is_said_to_be_none(answer: bytes) -> None:
    assert with_sorted_certificates(answer) == answer
    with pytest.raises(WitnessFailed):
        TimestampAuthority(()).check(an_anchor(), answer)


@given(new=st.integers(1, 70), data=st.data())
def test_the_stand_in_takes_the_proofs_of_certificate_transparency(new: int, data: st.DataObject) -> None:
    """And no other: it is the judge of our proofs in the tests of witnesses."""
    leaves = [leaf_of(bytes([number])) for number in range(new)]
    old = data.draw(st.integers(1, new))
    path = [root_over(leaves[span.begin : span.end]) for span in consistency(old, new)]
    roots = root_over(leaves[:old]), root_over(leaves)

    assert continues(old, roots[0], new, roots[1], path)
    assert not continues(old, bytes(32), new, roots[1], path)
    assert not continues(old, roots[0], new, bytes(32), path)
    assert not continues(old, roots[0], new, roots[1], [*path, bytes(32)])


async def test_an_answer_that_is_compressed_is_never_unpacked() -> None:
    packed, asked = gzip.compress(bytes(10_000_000)), list[httpx2.Request]()

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=httpx2.ByteStream(packed))

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as http:
        answered = await post(http, "http://witness.example/", b"", "text/plain")

    assert answered.body == packed
    assert asked[0].headers["accept-encoding"] == "identity"
