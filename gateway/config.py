"""The settings: a TOML file, then GATEWAY_* from the environment, checked at start. Shell.

Rules of this file:
- Every setting has a default that works on a laptop; a misspelt name is an error that names the nearest real one.
- Durations are seconds, the unit stands in the name.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Iterable, Iterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Final, get_origin
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.authentication import Require, Trust
from gateway.binding import Links
from gateway.decide import Desk
from gateway.domains import Domains, domain_name
from gateway.platforms import PLATFORMS
from gateway.quotas import Counts, Quotas
from gateway.readers import Limits
from scheduler.joins import Policy
from scheduler.request import CONVERSATION
from scheduler.targets import targets

PREFIX: Final = "GATEWAY_"
ROLES: Final = ("smtp", "http", "scheduler")  # what a process can do, see `gateway.roles`
FILE_VARIABLE: Final = PREFIX + "CONFIG"  # names the settings file, see `cli`


# Loopback and what no router of the Internet passes on (RFC 1918, RFC 4193, RFC 4291).
PRIVATE: Final = tuple(
    map(ip_network, ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7"))
)


class BadConfig(Exception):
    """The settings cannot be used; the message is one sentence that says the mend."""


def _domain(text: str) -> str:
    name = domain_name(text)
    if name is None:
        raise PydanticCustomError("domain", "A domain is labels of letters, digits and - with dots between them")
    return name


Domain = Annotated[str, AfterValidator(_domain)]
Account = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = not text or (parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        good = False
    if not good:
        raise PydanticCustomError("address", "Write an http or https address")
    return text


def _header_text(text: str) -> str:
    if not text or not text.isascii() or not text.isprintable() or text.strip() != text:
        raise PydanticCustomError("key", "A key is printable ASCII without spaces around it")
    return text


def _header_text_or_none(text: str) -> str:
    return _header_text(text) if text else text


OptionalHeaderText = Annotated[str, AfterValidator(_header_text_or_none)]
HeaderText = Annotated[str, AfterValidator(_header_text)]
HttpAddress = Annotated[str, AfterValidator(_address)]


def _words(given: Any) -> Any:
    """Words with commas between them, as they are written in the environment and on the command line."""
    return [word.strip() for word in given.split(",")] if isinstance(given, str) else given


def _roles(given: tuple[str, ...]) -> tuple[str, ...]:
    if not given or not set(given) <= set(ROLES):
        raise PydanticCustomError("roles", f"The roles of a process are {', '.join(ROLES[:-1])} and {ROLES[-1]}")
    return tuple(role for role in ROLES if role in given)


Roles = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words), AfterValidator(_roles)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Store(_Section):
    """Where everything is kept."""

    url: str = "sqlite:///var/gateway.db"


class Smtp(_Section):
    """Where mail comes in, by SMTP and LMTP, and how much of it."""

    host: str = "127.0.0.1"
    port: int = Field(default=2525, ge=0, le=65535)
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_port: int | None = Field(default=None, ge=0, le=65535)
    lmtp_port: int | None = Field(default=None, ge=0, le=65535)
    lmtp_socket: Path | None = None
    proxy_from: tuple[IPvAnyNetwork, ...] = ()
    xclient_from: tuple[IPvAnyNetwork, ...] = ()
    max_bytes: int = Field(default=10 * 1024 * 1024, ge=64 * 1024)
    max_recipients: int = Field(default=100, ge=1)  # RFC 5321 4.5.3.1.8
    max_connections: int = Field(default=200, ge=1)
    max_connections_per_address: int = Field(default=50, ge=1)
    max_commands: int = Field(default=1000, ge=10)
    max_refused: int = Field(default=20, ge=1)
    command_seconds: float = Field(default=300, gt=0)  # RFC 5321 4.5.3.2
    data_seconds: float = Field(default=600, gt=0)
    connection_seconds: float = Field(default=3600, gt=0)


class Reading(_Section):
    """The processes that read mails: how many at rest, the seconds a mail may take, the megabytes of one."""

    readers: int = Field(default=2, ge=1, le=64)
    seconds: float = Field(default=5, ge=0.1, le=60)
    megabytes: int = Field(default=512, ge=256, le=65536)


class Http(_Section):
    """Where HTTP is answered; `public_url` is how the platform reaches it for callbacks."""

    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    public_url: HttpAddress = ""


class PlatformSettings(_Section):
    """The conversation API. Without a base_url the built-in sandbox answers."""

    base_url: HttpAddress = ""
    api_key: HeaderText = "sandbox"
    mirror_pals: bool = False
    joinable: tuple[str, ...] = ("google_meet",)
    jitsi_hosts: tuple[str, ...] = ()


class TargetSettings(_Section):
    """Another place that PALs can be sent to (scheduler.targets)."""

    base_url: HttpAddress = Field(min_length=1)
    api_key: HeaderText


class Metrics(_Section):
    """Who may read /metrics, and where else than at the API it is answered."""

    networks: tuple[IPvAnyNetwork, ...] = PRIVATE
    token: OptionalHeaderText = ""
    host: str = "127.0.0.1"
    port: int | None = Field(default=None, ge=0, le=65535)


class CallbackSettings(_Section):
    """Where callbacks are passed on to: addresses on the Internet, and the private networks named here."""

    private_networks: tuple[IPvAnyNetwork, ...] = ()


class Relay(_Section):
    """The mail server that replies leave through. Without a host they are written to `folder` as .eml files."""

    host: str = ""
    port: int = Field(default=587, ge=1, le=65535)
    username: str = ""
    password: str = ""
    start_tls: bool = True
    bounces: bool = True  # an envelope sender of its own for each reply; False: the null sender
    folder: Path = Path("var/replies")


class Replies(_Section):
    """How long an answer waits, so that a burst of edits is answered once, and how many an organizer gets."""

    hold_seconds: float = Field(default=5, ge=0, le=600)
    hourly_per_organizer: int = Field(default=60, ge=1)


class Senders(_Section):
    """Who is believed about who sent a mail."""

    sender_auth: Require = Require.ALLOWLIST
    google_vouching: bool = True
    apple_vouching: bool = True
    arc_sealers: tuple[Domain, ...] = ()
    meeting_forwards: bool = False
    auth_results: str = ""
    pinned_peers: tuple[IPvAnyNetwork, ...] = ()
    dns_seconds: float = Field(default=5, gt=0, le=60)


class Joining(_Section):
    """When a PAL joins."""

    lead_seconds: float = Field(default=60, ge=0, le=3600)
    horizon_days: int = Field(default=60, ge=1, le=400)
    open_end_minutes: int = Field(default=60, ge=1, le=24 * 60)
    all_day: bool = False


class Invitations(_Section):
    """What is said to whom."""

    decline_strangers: bool = True
    accept_forwarded: bool = True


class QuotaSettings(_Section):
    """How much one inviter, its organisation and one PAL may have in a day and altogether; 0: no limit."""

    invitations_per_inviter: int = Field(default=200, ge=0)
    invitations_per_domain: int = Field(default=2000, ge=0)
    invitations_per_pal: int = Field(default=1000, ge=0)
    joins_per_inviter: int = Field(default=2000, ge=0)
    joins_per_domain: int = Field(default=10_000, ge=0)
    joins_per_pal: int = Field(default=5000, ge=0)
    longest_hours: float = Field(default=24, ge=0, le=10_000)
    furthest_days: int = Field(default=400, ge=0, le=36_500)

    def quotas(self) -> Quotas:
        """The same as the desk has it."""
        return Quotas(
            invitations=Counts(self.invitations_per_inviter, self.invitations_per_domain, self.invitations_per_pal),
            joins=Counts(self.joins_per_inviter, self.joins_per_domain, self.joins_per_pal),
            longest=timedelta(hours=self.longest_hours),
            furthest=timedelta(days=self.furthest_days),
        )


class Retention(_Section):
    """How many days what people wrote is kept after the last occurrence; 0: for ever."""

    days: int = Field(default=30, ge=0, le=36_500)

    @property
    def span(self) -> timedelta | None:
        """The same as a time; None: for ever."""
        return timedelta(days=self.days) if self.days else None


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    domain: Domain = "invite.example.com"
    domains: dict[Account, Domain] = Field(default_factory=dict)  # the accounts that bring their own
    log: str = Field(default="people", pattern="^(people|json)$")
    log_subjects: bool = False
    roles: Roles = ROLES
    stop_seconds: float = Field(default=10, gt=0, le=600)
    store: Store = Store()
    smtp: Smtp = Smtp()
    reading: Reading = Reading()
    http: Http = Http()
    metrics: Metrics = Metrics()
    platform: PlatformSettings = PlatformSettings()
    targets: dict[str, TargetSettings] = Field(default_factory=dict)
    callbacks: CallbackSettings = CallbackSettings()
    relay: Relay = Relay()
    replies: Replies = Replies()
    senders: Senders = Senders()
    joining: Joining = Joining()
    invitations: Invitations = Invitations()
    quotas: QuotaSettings = QuotaSettings()
    retention: Retention = Retention()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings  # the environment wins over the file

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


# Settings whose names are the operator's own.
_TABLES: Final = tuple(name for name, field in Settings.model_fields.items() if get_origin(field.annotation) is dict)


def load(path: Path | None = None, roles: str | None = None) -> Settings:
    """The settings of a TOML file (none: defaults) and of the environment; `roles` win over both. Raises BadConfig."""
    values = _read(path) if path is not None else {}
    _check_environment()
    try:
        settings = Settings(**values)
        if roles is not None:
            settings = settings.model_copy(update={"roles": TypeAdapter(Roles).validate_python(roles)})
    except ValidationError as error:
        raise BadConfig(_sentence(error)) from error
    if settings.platform.mirror_pals and not settings.platform.base_url:
        raise BadConfig("platform.mirror_pals: there is nothing to mirror PALs at without platform.base_url.")
    if settings.senders.auth_results and not settings.senders.pinned_peers:
        raise BadConfig(
            "senders.auth_results needs senders.pinned_peers: the networks of your own mail servers, "
            "because anybody else can write Authentication-Results."
        )
    _check_known("platform.joinable", "a platform", settings.platform.joinable, [one.name for one in PLATFORMS])
    _check_known("targets", "a further target", settings.targets, sorted(targets().keys() - {CONVERSATION}))
    _check_tls(settings.smtp)
    return settings


def _check_known(name: str, what: str, given: Iterable[str], known: list[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise BadConfig(f"{name}: {unknown[0]!r} is not {what}{_nearest(unknown[0], known)}.")


def _check_tls(smtp: Smtp) -> None:
    if (smtp.tls_certificate is None) != (smtp.tls_key is None):
        missing = "smtp.tls_certificate" if smtp.tls_certificate is None else "smtp.tls_key"
        raise BadConfig(f"{missing} is missing: a certificate and its key go together.")
    if smtp.tls_port is not None and smtp.tls_certificate is None:
        raise BadConfig("smtp.tls_port needs smtp.tls_certificate and smtp.tls_key.")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise BadConfig(f"The settings file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"The settings file {path} is not TOML: {error}.") from error


def _names() -> Iterator[str]:
    for name, field in Settings.model_fields.items():
        yield name
        section = field.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            yield from (f"{name}.{inner}" for inner in section.model_fields)


def _check_environment() -> None:
    """pydantic-settings lets a misspelt variable pass."""
    known = {PREFIX + name.replace(".", "__").upper() for name in _names()} | {FILE_VARIABLE}
    tables = tuple(f"{PREFIX}{name.upper()}__" for name in _TABLES)
    for name in os.environ:
        if name.startswith(PREFIX) and name.upper() not in known and not name.upper().startswith(tables):
            raise BadConfig(f"{name} is not a setting{_nearest(name, sorted(known))}.")
        if name.upper() in _composed():
            _check_json(name, os.environ[name])


def _composed() -> Iterator[str]:
    """The variables that hold more than one value: lists, tables, whole sections."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            yield PREFIX + name.upper()
            inner = section.model_fields.items()
            yield from (f"{PREFIX}{name}__{one}".upper() for one, kept in inner if get_origin(kept.annotation) is tuple)
        elif get_origin(section) is dict:
            yield PREFIX + name.upper()


def _check_json(name: str, text: str) -> None:
    try:
        json.loads(text)
    except ValueError as error:
        raise BadConfig(f'{name} is written as JSON, for example ["a", "b"] or {{"a": "b"}}, not {text!r}.') from error


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; the nearest is {close[0]}" if close else ""


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{name} is not a setting{_nearest(name, list(_names()))}."
    if first["type"] == "roles":
        return f"{first['msg']}, not {first.get('input')!r}."
    return f"{name}: {first['msg'][0].lower()}{first['msg'][1:]}, not {first.get('input')!r}."
