"""A Kafka of one's own that wants a login or a certificate, and lets each do what it must."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from deploy.local.children import Guard
from deploy.local.folders import free_ports
from deploy.local.servers.kafka import NativeKafka
from schemas.topics import USAGE
from tests.support.waiting import until_in_a_thread

PASSWORD = "a password, with = and spaces"
RECORDER, FEATURE, STRANGER, OPERATOR = "recorder", "feature", "stranger", "operator"
LOGINS = (RECORDER, FEATURE, STRANGER, OPERATOR)
GROUP = "creditwell-recorder"
ANSWER_SECONDS = 10

SECURITY = """
listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},LOGIN://127.0.0.1:{login},MUTUAL://127.0.0.1:{mutual},TOKEN://127.0.0.1:{token}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},LOGIN://127.0.0.1:{login},MUTUAL://127.0.0.1:{mutual},TOKEN://127.0.0.1:{token}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,LOGIN:SASL_SSL,MUTUAL:SSL,TOKEN:SASL_SSL
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.login.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};
listener.name.login.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.token.sasl.enabled.mechanisms=OAUTHBEARER
listener.name.token.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.mutual.ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=(.*?)$/$1/
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"""


@dataclass(frozen=True)
class SecuredKafka:
    """Where it wants a login, and where a certificate; whoever comes without either is an administrator."""

    open_to_us: str
    login: str
    mutual: str
    token: str  # it takes tokens that nobody has signed, and sees to their end
    folder: Path

    @property
    def authority(self) -> Path:
        """The certificate that signs all others."""
        return self.folder / "ca.pem"

    def certificate(self, name: str) -> Path:
        """A client's certificate, with its key in the same file."""
        return self.folder / f"{name}.pem"


@contextmanager
def a_secured_kafka(folder: Path) -> Iterator[SecuredKafka]:
    """A broker with logins, certificates and rights, for as long as the block runs."""
    (folder / "logs").mkdir()
    guard = Guard(folder / "lock")
    try:
        broker = NativeKafka(guard, folder, say=print, short_lived=True)
        broker.create()
        login, mutual, token = free_ports(3)
        _certificates(folder)
        properties = folder / "kafka.properties"
        before = dict(line.split("=", 1) for line in properties.read_text().splitlines())
        controller = before["controller.quorum.bootstrap.servers"].rpartition(":")[2]
        users = " ".join(f'user_{name}="{PASSWORD}"' for name in LOGINS)
        more = SECURITY.format(
            plain=broker.servers.rpartition(":")[2],
            controller=controller,
            login=login,
            mutual=mutual,
            token=token,
            users=users,
            folder=folder,
        )
        after = before | dict(line.split("=", 1) for line in more.strip().splitlines())
        properties.write_text("".join(f"{name}={value}\n" for name, value in after.items()))
        broker.restart()
        _rights(broker.servers)
        secured = SecuredKafka(
            broker.servers, f"127.0.0.1:{login}", f"127.0.0.1:{mutual}", f"127.0.0.1:{token}", folder
        )
        for name in LOGINS:
            until_in_a_thread(partial(_is_known, secured, name), what=f"{name} may log in")
        yield secured
    finally:
        guard.close()


def _is_known(secured: SecuredKafka, name: str) -> bool:
    """A broker learns of a login, and before it of rights, a moment after the controller has taken them."""
    asking = AdminClient({
        "bootstrap.servers": secured.login, "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": name, "sasl.password": PASSWORD, "ssl.ca.location": str(secured.authority),
        "reconnect.backoff.max.ms": 100, "log_level": 2,
    })  # fmt: skip
    try:
        return bool(asking.list_topics(timeout=ANSWER_SECONDS).brokers)
    except KafkaException:
        return False


def _rights(servers: str) -> None:
    """The recorder reads usage, the feature service writes it, the operator looks, and the stranger may log in."""
    admin = AdminClient({"bootstrap.servers": servers})
    rights = [
        (RECORDER, ResourceType.TOPIC, USAGE, AclOperation.READ), (RECORDER, ResourceType.GROUP, GROUP, AclOperation.READ),
        (FEATURE, ResourceType.TOPIC, USAGE, AclOperation.WRITE),
        (OPERATOR, ResourceType.TOPIC, "*", AclOperation.DESCRIBE), (OPERATOR, ResourceType.TOPIC, "*", AclOperation.DESCRIBE_CONFIGS),
    ]  # fmt: skip
    bindings = [
        AclBinding(kind, name, ResourcePatternType.LITERAL, f"User:{who}", "*", operation, AclPermissionType.ALLOW)
        for who, kind, name, operation in rights
    ]
    for done in admin.create_acls(bindings).values():
        done.result()
    logins = [
        UserScramCredentialUpsertion(name, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode())
        for name in LOGINS
    ]
    for done in admin.alter_user_scram_credentials([*logins]).values():
        done.result()


def _certificates(folder: Path) -> None:
    authority = generate_private_key(SECP256R1())
    (folder / "ca.pem").write_bytes(_signed("the authority", authority, authority).public_bytes(Encoding.PEM))
    for name in ("broker", RECORDER, FEATURE, STRANGER):
        key = generate_private_key(SECP256R1())
        certificate = _signed(name, key, authority).public_bytes(Encoding.PEM)
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / f"{name}.pem").write_bytes(private + certificate)


def _signed(name: str, key: EllipticCurvePrivateKey, authority: EllipticCurvePrivateKey) -> x509.Certificate:
    now = datetime.now(UTC)
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the authority")])
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=key is authority, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(authority, SHA256())
    )
