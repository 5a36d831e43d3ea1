"""Everything that can be set from outside: `CREDITWELL_…` variables, typed, each with what to write into it.

Settings are read once, by the CLI, are frozen, and travel as an argument. What is wrong or missing ends the process
with exit code 2 and a sentence that names the variable. Secrets are `SecretStr`: no log line and no repr shows them.

A secret may lie in a file instead: `CREDITWELL_SECRETS_DIR=/run/secrets` reads `/run/secrets/creditwell_stripe_key` and
so on. The variable wins where both are given.
"""

import re
from base64 import b64decode
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, FilePath, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from schemas.cycles import load_zone

LEASE_SECONDS = 10.0
PREFIX = "CREDITWELL_"
LIVE_PREFIX_MAX = 10  # sk_live_, rk_live_
ALONE = "CREDITWELL_INSECURE_DEV=1 is for one machine, with a test key"


# What belongs to a login at Kafka, by name and password, and by token.
LOGIN = ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password")
TOKEN_ASKED_FOR = ("kafka_token_url", "kafka_token_client_id", "kafka_token_client_secret")
TOKEN = ("kafka_token_file", *TOKEN_ASKED_FOR, "kafka_token_scope", "kafka_sasl_extensions")


class WrongSettings(Exception):
    """A setting is wrong or missing; each sentence names a variable and says what to write.

    Ends a process with code 2.
    """

    def __init__(self, *sentences: str) -> None:
        super().__init__(" ".join(sentences))
        self.sentences = sentences


class Settings(BaseSettings):
    """What an operator decides. A field without default is needed only by the processes that ask for it."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True, str_strip_whitespace=True,
        env_ignore_empty=True,
    )  # fmt: skip

    kafka: str | None = Field(
        None,
        pattern=r"^[^\s,:]+:\d+(,[^\s,:]+:\d+)*$",
        description="Kafka's bootstrap servers.",
        examples=["kafka-1:9092,kafka-2:9092"],
    )
    database: SecretStr | None = Field(
        None,
        description="The store, as the role of the process.",
        examples=["postgresql://creditwell_recorder:…@db:5432/creditwell"],
    )
    stripe_key: SecretStr | None = Field(
        None, description="Stripe's secret key, restricted to what is needed.", examples=["rk_live_…"]
    )
    stripe_api: str = Field(
        "https://api.stripe.com",
        pattern=r"^https?://[^\s/]+$",
        description="Stripe's address, for stand-ins.",
        examples=["https://api.stripe.com"],
    )
    stripe_tax: bool = Field(
        False, description="Have Stripe work out and collect the tax on purchases (Stripe Tax).", examples=["1"]
    )
    stripe_rate: int = Field(
        100,
        ge=1,
        le=10_000,
        description="The most requests a second that this process sends to Stripe.",
        examples=[100],
    )
    stripe_webhook_secret: SecretStr | None = Field(
        None,
        description="What Stripe signs webhooks with; two, separated by a comma, during a rotation.",
        examples=["whsec_…"],
    )
    jwks: str | None = Field(
        None,
        description="The keys that sign tokens: an https URL or a file.",
        examples=["https://login.example.com/.well-known/jwks.json"],
    )
    jwt_issuer: str | None = Field(
        None, description="The `iss` that tokens must have.", examples=["https://login.example.com/"]
    )
    jwt_audience: str | None = Field(None, description="The `aud` that tokens must have.", examples=["creditwell"])
    jwt_person_hours: float = Field(
        24,
        gt=0,
        le=24 * 366,
        description="How many hours ahead a member's or an admin's token may end at most.",
        examples=["24"],
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="Origins whose pages may call the API and be returned to, exactly; separated by commas.",
        examples=["https://app.example.com,https://staging.example.com"],
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#@]+$",
        description="Where browsers find the API and its page, for the way back from Stripe; in development the request's own address where unset.",
        examples=["https://credits.example.com"],
    )
    signing_key: SecretStr | None = Field(
        None,
        description="The Ed25519 key of the signer: 32 bytes in base64, made by `creditwell signing-key`.",
        examples=["what `creditwell signing-key` prints"],
    )
    public_key: str | None = Field(
        None,
        description="The public half of the signing key, for `creditwell verify`; several, separated by commas, after a rotation.",
        examples=["what `creditwell signing-key` prints"],
    )
    anchors: Path | None = Field(
        None,
        description="A folder outside the database where signed checkpoints are written, too. It has to be there; the signer makes none.",
        examples=["/var/lib/creditwell/anchors"],
    )
    tsa_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s#@]+$",
        description="A timestamp authority (RFC 3161) that stamps each anchor for the signer; its answer lies beside the anchor.",
        examples=["http://timestamp.example.com"],
    )
    tsa_ca: FilePath | None = Field(
        None,
        description="The certificates (PEM) that signed the timestamp authority's own; `creditwell verify` checks timestamps with them, too.",
        examples=["/etc/creditwell/tsa-ca.pem"],
    )
    witness_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#@]+$",
        description="A witness (C2SP tlog-witness) that cosigns the note of each anchor for the signer; its cosignature lies beside the anchor.",
        examples=["https://witness.example.com/log"],
    )
    witness_key: str | None = Field(
        None,
        description="The public key of the witness, as it publishes it; `creditwell verify` checks cosignatures with it, too.",
        examples=["witness.example.com+7f2a0c11+BE6x…"],
    )
    insecure_dev: bool = Field(
        False,
        description="Run without keys, for development alone: every log line and the page say so.",
        examples=["1"],
    )
    catalog: FilePath | None = Field(
        None,
        description="Plans, packs, the price of a top-up, the attributes that the log keeps and the first rate card; the catalog of the package where unset.",
        examples=["/etc/creditwell/catalog.toml"],
    )
    api_host: str = Field("127.0.0.1", description="The address on which the API listens.", examples=["0.0.0.0"])  # noqa: S104
    api_port: int = Field(
        8000, ge=0, le=65535, description="The port on which the API listens; 0 for any.", examples=["8000"]
    )
    api_person_requests_per_minute: int = Field(
        1_200,
        ge=0,
        le=1_000_000,
        description="How often a minute one member, admin, finance or operator may ask one API process; 0 for no limit.",
        examples=["1200"],
    )
    api_service_requests_per_second: int = Field(
        1_000,
        ge=0,
        le=1_000_000,
        description="How often a second one service of a team may ask one API process, a batch of usage counting once; 0 for no limit.",
        examples=["1000"],
    )
    api_failed_sign_ins_per_minute: int = Field(
        300,
        ge=0,
        le=1_000_000,
        description="How often a minute one address may ask one API process without a valid token; 0 for no limit.",
        examples=["300"],
    )
    api_forged_webhooks_per_minute: int = Field(
        60,
        ge=0,
        le=1_000_000,
        description="How often a minute one address may send one API process a webhook that Stripe has not signed; 0 for no limit.",
        examples=["60"],
    )
    api_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        ("127.0.0.1", "::1"),
        description="Addresses and networks of proxies, separated by commas, from which the API takes the address of the caller (`X-Forwarded-For`).",
        examples=["10.0.0.0/8,192.0.2.7"],
    )
    api_streams_per_caller: int = Field(
        20,
        ge=0,
        le=10_000,
        description="How many streams one caller may have open at one API process; 0 for no limit.",
        examples=["20"],
    )
    api_connections: int = Field(
        2_000,
        ge=10,
        le=100_000,
        description="How many connections one API process takes, those of open streams among them; later ones get 503.",
        examples=["2000"],
    )
    health_host: str = Field(
        "127.0.0.1", description="The address of /healthz, /readyz and /metrics.", examples=["127.0.0.1"]
    )
    health_port: int = Field(
        0, ge=0, le=65535, description="The port of /healthz, /readyz and /metrics; 0 for none.", examples=["9100"]
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Which log lines are written.", examples=["info"]
    )
    log_levels: str = Field(
        "",
        pattern=r"^([\w.]+=(debug|info|warning|error)(,|$))*$",
        description="Other levels for single loggers, separated by commas: `access` is one line for each request, the rest are modules of ours and libraries.",
        examples=["access=warning,services.money=debug"],
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="JSON lines, or text for people; auto: text on a terminal.", examples=["json"]
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",
        description="How processes connect to Kafka: encrypted, with a login, both or neither.",
        examples=["SASL_SSL"],
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = Field(
        None,
        description="The SASL mechanism of the login; with SASL_PLAINTEXT and SASL_SSL.",
        examples=["SCRAM-SHA-512"],
    )
    kafka_sasl_username: str | None = Field(None, description="The login at Kafka.", examples=["creditwell-recorder"])
    kafka_sasl_password: SecretStr | None = Field(
        None, description="Its password.", examples=["the password of the login"]
    )
    kafka_token_file: FilePath | None = Field(
        None,
        description="With OAUTHBEARER: a file with the token, read again for each connection; another program keeps it fresh.",
        examples=["/var/run/secrets/kafka/token"],
    )
    kafka_token_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s#]+$",
        description="With OAUTHBEARER: the OAuth 2.0 endpoint that gives tokens for client credentials.",
        examples=["https://login.example.com/oauth2/token"],
    )
    kafka_token_client_id: str | None = Field(
        None, description="The client id for that endpoint.", examples=["creditwell-recorder"]
    )
    kafka_token_client_secret: SecretStr | None = Field(
        None, description="The secret of that client.", examples=["the secret of the client"]
    )
    kafka_token_scope: str | None = Field(
        None,
        description="The scope to ask for, where the endpoint wants one.",
        examples=["https://NAMESPACE.servicebus.windows.net/.default"],
    )
    kafka_sasl_extensions: str | None = Field(
        None,
        pattern=r"^[A-Za-z]+=[!-+\--~]+(,[A-Za-z]+=[!-+\--~]+)*$",  # RFC 7628, without the comma
        description="Extensions that the broker needs with OAUTHBEARER: name=value, separated by commas.",
        examples=["logicalCluster=lkc-123,identityPoolId=pool-456"],
    )
    kafka_ca_file: FilePath | None = Field(
        None,
        description="The authority that signs the brokers' certificates, in PEM; those that the machine trusts where unset.",
        examples=["/etc/creditwell/kafka-ca.pem"],
    )
    kafka_certificate_file: FilePath | None = Field(
        None,
        description="Our certificate for brokers that want one (mTLS), in PEM.",
        examples=["/etc/creditwell/kafka.pem"],
    )
    kafka_key_file: FilePath | None = Field(
        None,
        description="Its private key, in PEM and without a password, where it is not in the same file.",
        examples=["/etc/creditwell/kafka.key"],
    )
    kafka_session_timeout_ms: int = Field(
        10_000,
        ge=1_000,
        le=300_000,
        description="After how long without a heartbeat Kafka gives a recorder's partitions to another one.",
        examples=["10000"],
    )
    lease_seconds: float = Field(
        LEASE_SECONDS,
        ge=1,
        le=300,
        description="After how long others take over the work of a process that stands still; after half of it PostgreSQL ends its open transactions.",
        examples=["10"],
    )
    rate_cards_reload_seconds: float = Field(
        10,
        ge=0,
        le=10,
        description="How often a recorder looks for new rate cards; with cards six times as old it prices nothing.",
        examples=["10"],
    )
    notice_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#@]+(/[^\s#]*)?$",
        max_length=500,
        description="Where the host product takes signed notices; where unset, none are sent.",
        examples=["https://app.example.com/webhooks/credits"],
    )
    notice_secret: SecretStr | None = Field(
        None,
        description="What notices are signed with: `whsec_` and 24 to 64 bytes in base64; two, separated by a comma, during a rotation.",
        examples=["whsec_… as made by: echo whsec_$(head -c 32 /dev/urandom | base64)"],
    )
    usage_page: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#@]+(/\S*)?$",
        max_length=500,
        description="The address of the Usage page for links in notices, with `{team}` where the team's id belongs; the API's own page where unset.",
        examples=["https://app.example.com/teams/{team}/usage"],
    )
    refused_bytes_days: int = Field(
        90,
        ge=1,
        le=3_650,
        description="How many days the bytes of refused usage are kept; afterwards its reason and SHA-256 are left.",
        examples=["30"],
    )
    notice_days: int = Field(
        30,
        ge=1,
        le=3_650,
        description="How many days a notice is kept after it was delivered or given up.",
        examples=["30"],
    )
    stripe_inbox_days: int = Field(
        90,
        ge=31,
        le=3_650,
        description="How many days an event of Stripe's is kept after it was done; Stripe itself keeps them for 30.",
        examples=["90"],
    )
    seal_grace_seconds: int = Field(
        3600,
        ge=0,
        description="How long after its end a cycle still takes late usage before it is sealed.",
        examples=["3600"],
    )
    books_zone: str = Field(
        "UTC",
        description="The time zone of the months of `creditwell revenue`; choose it once: another one has other months.",
        examples=["Europe/Berlin"],
    )
    sign_every_seconds: int = Field(
        30, ge=1, le=60, description="How often the signer signs when anything has changed.", examples=["30"]
    )
    anchor_every_seconds: int = Field(
        300,
        ge=1,
        le=86_400,
        description="How often a signed checkpoint goes into the folder of anchors, and is signed where nothing has changed; `verify` wants them no older than twice that.",
        examples=["300"],
    )

    @field_validator("cors_origins", "api_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("cors_origins")
    @classmethod
    def _exact(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        for origin in origins:
            if not re.fullmatch(r"https?://[^\s/*?#@]+", origin):
                raise ValueError(f"{origin!r} is not an origin: scheme and host, no path and no *")
        return origins

    @field_validator("api_proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ip_network(proxy)  # says what is wrong
        return proxies

    @field_validator("database")
    @classmethod
    def _postgresql(cls, database: SecretStr | None) -> SecretStr | None:
        if database is not None and not database.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("it is not a postgresql:// URL")
        return database

    @field_validator("books_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        load_zone(zone)  # says what is wrong
        return zone

    @field_validator("jwks")
    @classmethod
    def _url_or_file(cls, jwks: str | None) -> str | None:
        if jwks is not None and not re.match(r"https?://", jwks) and not Path(jwks).is_file():
            raise ValueError(f"{jwks!r} is neither a URL nor a file that exists")
        return jwks

    @field_validator("notice_secret")
    @classmethod
    def _keys(cls, secrets: SecretStr | None) -> SecretStr | None:
        parts = secrets.get_secret_value().split(",") if secrets is not None else []
        if len(parts) > 2 or not all(_is_webhook_secret(part.strip()) for part in parts):
            raise ValueError("it is not one or two of whsec_ and 24 to 64 bytes in base64")
        return secrets

    @model_validator(mode="after")
    def _encrypted(self) -> Self:
        """Keys and tokens never cross a network in the clear, save in development."""
        for name in ("stripe_api", "jwks", "notice_url", "kafka_token_url"):
            if not self.insecure_dev and str(getattr(self, name)).startswith("http://"):
                message = (
                    f"{variable(name)} begins with http://; write https:// (http is for CREDITWELL_INSECURE_DEV=1)"
                )
                raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _witnesses_whole(self) -> Self:
        """Whoever is asked can be checked, and has a folder for what it says. http will do: what it says is signed."""
        for address, check in (("tsa_url", "tsa_ca"), ("witness_url", "witness_key")):
            missing = [name for name in (check, "anchors") if getattr(self, name) is None]
            if getattr(self, address) is not None and missing:
                raise ValueError(f"{variable(address)} is set, so set {' and '.join(map(variable, missing))} too")
        return self

    @model_validator(mode="after")
    def _let_in_by_kafka(self) -> Self:
        """Protocol, login and certificates fit together: half of them would look like an outage."""
        protocol = self.kafka_security_protocol
        self._login_whole(protocol)
        files = [name for name in ("kafka_ca_file", "kafka_certificate_file", "kafka_key_file") if getattr(self, name)]
        if files and not protocol.endswith("SSL"):
            raise ValueError(
                f"{variable(files[0])} is set, but {variable('kafka_security_protocol')} is {protocol}: write SSL or SASL_SSL"
            )
        if "kafka_key_file" in files and "kafka_certificate_file" not in files:
            raise ValueError(f"{variable('kafka_key_file')} is set, so set {variable('kafka_certificate_file')} too")
        return self

    def _login_whole(self, protocol: str) -> None:
        """A name and a password, or a token; nothing of it where nobody asks for it."""
        mechanism = self.kafka_sasl_mechanism
        chosen = [name for name in (*LOGIN, *TOKEN) if getattr(self, name) is not None]
        if not protocol.startswith("SASL"):
            if chosen:
                raise ValueError(
                    f"{variable(chosen[0])} is set, but {variable('kafka_security_protocol')} is {protocol}: write SASL_SSL"
                )
            return
        fits: tuple[str, ...] = TOKEN if mechanism == "OAUTHBEARER" else LOGIN
        needs: tuple[str, ...] = TOKEN_ASKED_FOR if mechanism == "OAUTHBEARER" else LOGIN
        if mechanism == "OAUTHBEARER" and self.kafka_token_file:
            needs = ("kafka_token_file",)
        needed = ", ".join(variable(name) for name in needs if name not in chosen)
        if needed:
            instead = f", or {variable('kafka_token_file')}" if needs is TOKEN_ASKED_FOR else ""
            raise ValueError(f"{variable('kafka_security_protocol')} is {protocol}, so set {needed} too{instead}")
        if strange := [name for name in chosen if name not in (*fits, "kafka_sasl_mechanism")]:
            raise ValueError(f"{variable(strange[0])} is set, but {variable('kafka_sasl_mechanism')} is {mechanism}")
        if self.kafka_token_file and self.kafka_token_url:
            raise ValueError(f"set {variable('kafka_token_file')} or {variable('kafka_token_url')}, not both")

    @model_validator(mode="after")
    def _development_alone(self) -> Self:
        """Development is for one machine and for money that is none: its signing key is known to everybody."""
        if not self.insecure_dev:
            return self
        if self.stripe_key is not None and "_live_" in self.stripe_key.get_secret_value()[:LIVE_PREFIX_MAX]:
            raise ValueError(f"{variable('stripe_key')} is a live key; {ALONE}")
        for name in ("api_host", "health_host"):
            if not _is_loopback(getattr(self, name)):
                raise ValueError(f"{variable(name)} is open to others; {ALONE}")
        return self

    def needed(self, name: str) -> str:
        """The text of a setting that the caller can't do without. Raises as `require` does."""
        self.require(name)
        value = getattr(self, name)
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)

    def require(self, *names: str) -> None:
        """Make sure that these are set.

        Raises:
            WrongSettings: some are missing; it names each and says what to write.
        """
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise WrongSettings(*(f"{variable(name)} is not set. {advice(name)}" for name in missing))

    def require_keys(self, *names: str) -> None:
        """As `require`, save in insecure development, which may run without keys."""
        self.require(*self.outside_development(*names))

    def outside_development(self, *names: str) -> tuple[str, ...]:
        """These names, but none in insecure development: for a list of all that is missing at once."""
        return () if self.insecure_dev else names


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _is_webhook_secret(text: str) -> bool:
    """True for a symmetric secret of Standard Webhooks."""
    try:
        key = b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        return False
    return text.startswith("whsec_") and 24 <= len(key) <= 64


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name}".upper()


def advice(name: str) -> str:
    """What a setting is, and an example."""
    field = Settings.model_fields[name]
    return f"{field.description} Write, for example: {(field.examples or [''])[0]}"
