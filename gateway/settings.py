"""The settings: what there is, what each may be, and what it says. `config` reads them. Shell (they name paths).

Rules of this file:
- Every setting has a default that works on a laptop. Durations are seconds, the unit stands in the name.
- Every setting has its description: `gateway.example.toml`, `docs/reference/settings.md` and
  `pal-gateway config show` are made from this.
- A setting whose value nobody may read is marked (`kinds.Secret`), and is in no repr.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from gateway.authentication import Require, Trust
from gateway.binding import Links
from gateway.decide import Desk
from gateway.domains import Domains
from gateway.kinds import (
    PRIVATE,
    ROLES,
    Account,
    Domain,
    HttpAddress,
    Key,
    KeyOrNone,
    Networks,
    Roles,
    Secret,
    SocketName,
    StoreUrl,
)
from gateway.quotas import Counts, Quotas
from gateway.readers import Limits
from scheduler.joins import Policy

PREFIX: Final = "GATEWAY_"
EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - what an operator may choose


class Section(BaseModel):
    """Settings that belong together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _number(cls, given: Any, info: ValidationInfo) -> Any:
        """true is 1 in Python; as the value of a number it is a slip, and as `retention.days` it would delete."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if isinstance(given, bool) and not {int, float}.isdisjoint((kind, *get_args(kind))):
            raise PydanticCustomError("number", "Write a number")
        return given


class Store(Section):
    """The store: PALs, keys, mails, decisions, joins, replies."""

    url: StoreUrl = Field(
        default="sqlite:///var/gateway.db",
        repr=False,
        examples=["postgresql://gateway@db.example.com/gateway"],
        description="Where everything is kept: a SQLite file or a PostgreSQL database.",
    )


class Smtp(Section):
    """Where mail comes in, by SMTP and LMTP, and how much of it."""

    host: str = Field(
        default="127.0.0.1",
        examples=[EVERYWHERE],
        description="The address that mail comes in at; `0.0.0.0` or `::` for every one of the machine.",
    )
    port: int = Field(
        default=2525,
        ge=0,
        le=65535,
        description="The port that mail comes in at, with STARTTLS where there is a certificate; 0: any free one.",
    )
    tls_certificate: Path | None = Field(
        default=None,
        examples=["/etc/ssl/mx.example.com/fullchain.pem"],
        description="The certificate chain for STARTTLS, a PEM file; read again when it changes.",
    )
    tls_key: Path | None = Field(
        default=None,
        examples=["/etc/ssl/mx.example.com/privkey.pem"],
        description="The key of the certificate, a PEM file without a passphrase.",
    )
    tls_port: int | None = Field(
        default=None, ge=0, le=65535, examples=[465], description="A further port, with TLS from the first byte."
    )
    lmtp_port: int | None = Field(
        default=None, ge=0, le=65535, examples=[2424], description="A port for LMTP, for a mail server of yours."
    )
    lmtp_socket: Annotated[Path | None, SocketName] = Field(
        default=None,
        examples=["/run/pal-gateway/lmtp"],
        description="A Unix socket for LMTP, for a mail server of yours on the same machine.",
    )
    proxy_from: Networks = Field(
        default=(),
        examples=[["10.0.0.5/32"]],
        description="Networks whose connections begin with a PROXY header (v1, v2), by which they name their client.",
    )
    xclient_from: Networks = Field(
        default=(), examples=[["10.0.0.6/32"]], description="Networks that may name their client by XCLIENT."
    )
    max_bytes: int = Field(default=10 * 1024 * 1024, ge=64 * 1024, description="How large a mail may be, in bytes.")
    # RFC 5321 4.5.3.1.8
    max_recipients: int = Field(default=100, ge=1, description="How many recipients a mail may have.")
    max_connections: int = Field(default=200, ge=1, description="How many connections there may be at once.")
    max_connections_per_address: int = Field(
        default=50,
        ge=1,
        description="How many of them may be from one address; an IPv6 network of 64 bits counts as an address.",
    )
    max_commands: int = Field(default=1000, ge=10, description="How many commands a connection may send.")
    max_refused: int = Field(
        default=20,
        ge=1,
        description="How many of its commands may be refused; refusals are forgotten when a mail was taken.",
    )
    # RFC 5321 4.5.3.2
    command_seconds: float = Field(default=300, gt=0, description="How long a client may take until its next command.")
    data_seconds: float = Field(default=600, gt=0, description="How long a mail may take to come in.")
    connection_seconds: float = Field(default=3600, gt=0, description="How long a connection may last.")


class Reading(Section):
    """The processes that read mails."""

    readers: int = Field(default=2, ge=1, le=64, description="How many processes that read mails are kept at rest.")
    seconds: float = Field(default=5, ge=0.1, le=60, description="What reading one mail may take, in seconds of CPU.")
    megabytes: int = Field(
        default=512, ge=256, le=65536, description="The memory that one such process may take, in MB."
    )


class Http(Section):
    """Where the API, the page, and the platform's callbacks come in."""

    host: str = Field(
        default="127.0.0.1",
        examples=[EVERYWHERE],
        description="The address that the API and the page are at.",
    )
    port: int = Field(
        default=8080, ge=0, le=65535, description="The port that the API and the page are at; 0: any free one."
    )
    public_url: HttpAddress = Field(
        default="",
        examples=["https://gateway.example.com"],
        description="The address by which the platform reaches us for callbacks; `calendar_url` begins with it, too.",
    )


class Metrics(Section):
    """Who may read /metrics, and where else than at the API it is answered."""

    networks: Networks = Field(default=PRIVATE, description="Who may read `/metrics`; anybody else gets 404.")
    token: KeyOrNone = Field(
        default="",
        repr=False,
        examples=["a-long-random-text"],
        description="What they have to show as `Authorization: Bearer …`; empty: nothing.",
    )
    host: str = Field(default="127.0.0.1", description="The address of the further port.")
    port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        examples=[9090],
        description="A further port with `/metrics`, `/healthz`, `/readyz` only; for a process without `http`.",
    )


class PlatformSettings(Section):
    """The conversation API that sends PALs into calls. Without a base_url the built-in sandbox answers."""

    base_url: HttpAddress = Field(
        default="",
        examples=["https://platform.example.com"],
        description="The address of the conversation API, without `/v2`; empty: the built-in sandbox.",
    )
    api_key: Key = Field(
        default="sandbox", repr=False, examples=["your-key"], description="Your key for the conversation API."
    )
    mirror_pals: bool = Field(
        default=False,
        description="Create, change and delete PALs at the conversation API, too; its `pal_id` is then the PAL's.",
    )
    joinable: tuple[str, ...] = Field(
        default=("google_meet",),
        examples=[["google_meet", "zoom", "teams"]],
        description="The platforms whose calls the conversation API can join.",
    )
    jitsi_hosts: tuple[str, ...] = Field(
        default=(),
        examples=[["meet.example.com"]],
        description="Your own Jitsi hosts, so that their links are recognised.",
    )


class TargetSettings(Section):
    """Another place that PALs can be sent to (scheduler.targets)."""

    base_url: HttpAddress = Field(min_length=1, description="The address of its API.")
    api_key: Key = Field(repr=False, description="Your key for it.")


class CallbackSettings(Section):
    """Where callbacks are passed on to, and webhooks sent to, beside addresses on the Internet."""

    private_networks: Networks = Field(
        default=(),
        examples=[["10.0.0.0/8"]],
        description="Private networks that callbacks may be passed on to, and webhooks sent to; "
        "a webhook whose host is another private address is refused.",
    )


class Relay(Section):
    """The mail server that replies leave through. Without a host they are written to `folder` as .eml files."""

    host: str = Field(
        default="",
        examples=["smtp.example.com"],
        description="The mail server that replies leave through; empty: they are written into the folder.",
    )
    port: int = Field(default=587, ge=1, le=65535, description="Its port.")
    username: str = Field(default="", examples=["gateway"], description="The name to log in with; empty: no login.")
    password: Annotated[str, Secret.ALL] = Field(
        default="", repr=False, examples=["your-password"], description="The password to log in with."
    )
    start_tls: bool = Field(default=True, description="Demand STARTTLS.")
    bounces: bool = Field(
        default=True,
        description="Each reply leaves with an envelope sender of its own, so that it is known if it does not arrive; "
        "false: with the null sender.",
    )
    folder: Path = Field(default=Path("var/replies"), description="Where replies are written while there is no relay.")


class Replies(Section):
    """How long an answer waits, and how many an organizer gets."""

    hold_seconds: float = Field(
        default=5,
        ge=0,
        le=600,
        description="How long a reply waits for a later edit to replace it, so that a burst of edits is answered once.",
    )
    hourly_per_organizer: int = Field(default=60, ge=1, description="How many answers an organizer is sent in an hour.")


class Senders(Section):
    """Who is believed about who sent a mail."""

    sender_auth: Require = Field(
        default=Require.ALLOWLIST,
        description="What a mail needs of its sender: with `allowlist` an allowlist is satisfied only by one that "
        "somebody vouches for; `require`: refuse what nobody vouches for; `off`: believe every From.",
    )
    google_vouching: bool = Field(default=True, description="Believe Google's calendar about who sends by it.")
    apple_vouching: bool = Field(default=True, description="Believe Apple's calendar about who sends by it.")
    arc_sealers: tuple[Domain, ...] = Field(
        default=(),
        examples=[["lists.example.com"]],
        description="Forwarders (domains) that are believed about who sent what they forward (ARC).",
    )
    meeting_forwards: bool = Field(
        default=False, description="Meetings forwarded by Exchange count as sent by who forwards them."
    )
    auth_results: str = Field(
        default="",
        examples=["mx.example.com"],
        description="The authserv-id of your front server, whose Authentication-Results are believed.",
    )
    pinned_peers: Networks = Field(
        default=(), examples=[["10.0.0.0/8"]], description="The networks that your front server is in."
    )
    dns_seconds: float = Field(default=5, gt=0, le=60, description="How long DNS may take for one mail.")


class Joining(Section):
    """When a PAL joins."""

    lead_seconds: float = Field(default=60, ge=0, le=3600, description="How long before the start a PAL joins.")
    horizon_days: int = Field(default=60, ge=1, le=400, description="How far ahead joins of a series are written down.")
    open_end_minutes: int = Field(
        default=60, ge=1, le=24 * 60, description="How long an event without an end counts as running."
    )
    all_day: bool = Field(default=False, description="Join all-day events that have not begun.")


class Invitations(Section):
    """What is said to whom."""

    decline_strangers: bool = Field(default=True, description="Tell who is not on the allowlist; false: stay silent.")
    accept_forwarded: bool = Field(
        default=True, description="Come also when only the envelope of the mail names the PAL."
    )


class QuotaSettings(Section):
    """How much one inviter, its organisation and one PAL may have in a day (UTC) and altogether; 0: no limit."""

    invitations_per_inviter: int = Field(default=200, ge=0, description="New invitations in a day by one sender.")
    invitations_per_domain: int = Field(
        default=2000,
        ge=0,
        description="New invitations in a day by the organisation of a sender (gmail.com and its like are none).",
    )
    invitations_per_pal: int = Field(default=1000, ge=0, description="New invitations in a day of one PAL.")
    joins_per_inviter: int = Field(
        default=2000, ge=0, description="Joins that are planned or under way for one sender."
    )
    joins_per_domain: int = Field(
        default=10_000, ge=0, description="Joins that are planned or under way for the organisation of a sender."
    )
    joins_per_pal: int = Field(default=5000, ge=0, description="Joins that are planned or under way of one PAL.")
    longest_hours: float = Field(
        default=24,
        ge=0,
        le=10_000,
        description="How long a meeting may be; all-day events are the matter of `joining.all_day`.",
    )
    furthest_days: int = Field(
        default=400, ge=0, le=36_500, description="How far ahead the first date of a meeting may be."
    )

    def quotas(self) -> Quotas:
        """The same as the desk has it."""
        return Quotas(
            invitations=Counts(self.invitations_per_inviter, self.invitations_per_domain, self.invitations_per_pal),
            joins=Counts(self.joins_per_inviter, self.joins_per_domain, self.joins_per_pal),
            longest=timedelta(hours=self.longest_hours),
            furthest=timedelta(days=self.furthest_days),
        )


class Retention(Section):
    """How long what people wrote is kept."""

    days: int = Field(
        default=30,
        ge=0,
        le=36_500,
        description="How many days after the last occurrence what people wrote is kept; 0: for ever.",
    )

    @property
    def span(self) -> timedelta | None:
        """The same as a time; None: for ever."""
        return timedelta(days=self.days) if self.days else None


class Settings(Section):
    """All settings."""

    domain: Domain = Field(default="invite.example.com", description="The domain of the PALs' addresses.")
    log: Literal["people", "json"] = Field(
        default="people",
        examples=["json"],
        description="How log lines are written: for `people`, or as `json`.",
    )
    log_subjects: bool = Field(
        default=False, description="Log lines name the subject of a mail and the title of a meeting, too."
    )
    roles: Roles = Field(
        default=ROLES,
        description="What this process does: take mail (`smtp`), answer (`http`), join (`scheduler`); `--role` wins.",
    )
    stop_seconds: float = Field(default=10, gt=0, le=600, description="How long a stop may take.")
    store: Store = Store()
    smtp: Smtp = Smtp()
    reading: Reading = Reading()
    http: Http = Http()
    metrics: Metrics = Metrics()
    platform: PlatformSettings = PlatformSettings()
    callbacks: CallbackSettings = CallbackSettings()
    relay: Relay = Relay()
    replies: Replies = Replies()
    senders: Senders = Senders()
    joining: Joining = Joining()
    invitations: Invitations = Invitations()
    quotas: QuotaSettings = QuotaSettings()
    retention: Retention = Retention()
    domains: dict[Account, Domain] = Field(
        default_factory=dict,
        examples=[{"acme": "meet.acme.example"}],
        description="Accounts that bring a domain of their own for their PALs' addresses, each by its name.",
    )
    targets: dict[str, TargetSettings] = Field(
        default_factory=dict,
        examples=[{"scenario_meeting": {"base_url": "https://scenarios.example.com", "api_key": "your-key"}}],
        description="Other places that PALs can be sent to, each by its kind: its address, and your key for it.",
    )

    def mail_domains(self) -> Domains:
        """Which account's PALs have their addresses in which domain."""
        return Domains(self.domain, self.domains)

    def scheduling(self) -> Policy:
        """When to join, as the scheduler has it."""
        return Policy(
            lead=timedelta(seconds=self.joining.lead_seconds),
            horizon=timedelta(days=self.joining.horizon_days),
            open_end=timedelta(minutes=self.joining.open_end_minutes),
        )

    def limits(self) -> Limits:
        """What reading one mail may cost."""
        return Limits(self.reading.readers, self.reading.seconds, self.reading.megabytes)

    def desk(self) -> Desk:
        """How the desk decides."""
        return Desk(
            links=Links(frozenset(self.platform.joinable), frozenset(self.platform.jitsi_hosts)),
            scheduling=self.scheduling(),
            decline_strangers=self.invitations.decline_strangers,
            accept_forwarded=self.invitations.accept_forwarded,
            join_all_day=self.joining.all_day,
            hourly_per_organizer=self.replies.hourly_per_organizer,
            quotas=self.quotas.quotas(),
            remembers=self.retention.span,
        )

    def trust(self) -> Trust:
        """Who is believed about who sent a mail."""
        return Trust(
            google=self.senders.google_vouching,
            apple=self.senders.apple_vouching,
            sealers=frozenset(self.senders.arc_sealers),
            meeting_forwards=self.senders.meeting_forwards,
            server=self.senders.auth_results,
            peers=tuple(map(str, self.senders.pinned_peers)),
        )
