"""`pal-gateway doctor` against a gateway, relay, platform, and DNS on loopback: whole, and with each part broken."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from sqlalchemy import text

from gateway.app import open_store
from gateway.diagnosis import Line
from gateway.doctor import Doctor
from gateway.settings import Settings
from scheduler.clock import utc_now
from tests.api.conftest import Running, serving
from tests.commands.words import run
from tests.security.world import Zone
from tests.wire.test_main_path import settings_for

DOMAIN = "pals.acme.test"
PASSWORD = "hunter2-of-the-relay"  # noqa: S105
KEY = "key-of-the-platform"


class Platform(BaseHTTPRequestHandler):
    """Lists no conversations for whoever has the key; its clock is the server's `ahead`, what it asks in `asked`."""

    def do_GET(self) -> None:
        server = cast("Listing", self.server)
        server.asked.append(self.path)
        known = self.headers.get("x-api-key") == KEY
        body = b'{"data": []}' if known else f'{{"error": "{self.headers.get("x-api-key")} is wrong"}}'.encode()
        self.send_response_only(200 if known else 401)
        self.send_header("Date", format_datetime(utc_now() + server.ahead, usegmt=True))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Listing(ThreadingHTTPServer):
    ahead = timedelta()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Platform)
        self.asked: list[str] = []


@pytest.fixture
def platform() -> Iterator[Listing]:
    with Listing() as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Inbox:
    """A relay's desk that takes mail."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.named: set[str] = set()

    async def handle_EHLO(
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.named.add(hostname)
        return responses

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.mails.append(cast(bytes, envelope.content))
        return "250 OK"


def _login(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and data.password == PASSWORD.encode()
    return AuthResult(success=good, handled=False)


@contextmanager
def relaying(authority: trustme.CA) -> Iterator[tuple[int, Inbox]]:
    """A relay that wants STARTTLS and a login; its port."""
    context, inbox = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), Inbox()
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    controller = Controller(
        inbox, "127.0.0.1", port, tls_context=context, require_starttls=True, authenticator=_login, auth_required=True
    )
    controller.start()
    try:
        yield port, inbox
    finally:
        controller.stop()


@pytest.fixture
def running(tmp_path: Path, store_url: str) -> Iterator[Running]:
    with serving(settings_for(tmp_path, store={"url": store_url}, domain=DOMAIN)) as found:
        yield found


def zone() -> Zone:
    made = Zone()
    made.add(DOMAIN, (10, f"mx.{DOMAIN}"), kind="MX")
    made.add(f"mx.{DOMAIN}", "127.0.0.1", kind="A")
    made.add(DOMAIN, "v=spf1 mx -all")
    made.add(f"s1._domainkey.{DOMAIN}", "v=DKIM1; k=rsa; p=abc")
    made.add(f"_dmarc.{DOMAIN}", "v=DMARC1; p=none")
    return made


def certificate(folder: Path, authority: trustme.CA, *names: str, ends: datetime | None = None) -> dict[str, str]:
    issued = authority.issue_cert(*names, not_after=ends)
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(one.bytes() for one in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return {"tls_certificate": str(chain), "tls_key": str(key)}


def examined(settings: Settings, zone: Zone, mx_port: int = 1, seconds: float = 20) -> dict[str, Line]:
    doctor = Doctor(settings, zone, selector="s1", mx_port=mx_port, seconds=seconds)
    lines = asyncio.run(doctor.examine())
    said = " ".join(f"{line.found} {line.mend}" for line in lines)
    assert PASSWORD not in said
    assert KEY not in said
    return {line.check: line for line in lines}


def states(found: dict[str, Line]) -> dict[str, str]:
    return {check: line.state.value for check, line in found.items()}


def test_a_whole_installation_is_ok(
    running: Running, platform: Listing, tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority, gateway = trustme.CA(), running.gateway
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    port = gateway.smtp_port
    with relaying(authority) as (relay, inbox):
        values: dict[str, Any] = {
            "domain": DOMAIN,
            "store": {"url": store_url},
            "smtp": {"port": port, "host": "0.0.0.0", **certificate(tmp_path, authority, f"mx.{DOMAIN}")},
            "http": {"port": gateway.http_port, "public_url": f"http://127.0.0.1:{gateway.http_port}"},
            "relay": {"host": "127.0.0.1", "port": relay, "username": "us", "password": PASSWORD},
            "platform": {"base_url": f"http://127.0.0.1:{platform.server_port}", "api_key": KEY},
            "targets": {},
        }
        found = examined(Settings(**values), zone(), port)
        assert [line for line in found.values() if line.state != "ok"] == []
        assert (inbox.mails, inbox.named) == ([], {DOMAIN})
    assert f"port {port} of mx.{DOMAIN}" in found
    assert {f"{kind} of {DOMAIN}" for kind in ("MX", "SPF", "DKIM", "DMARC")} <= found.keys()
    assert found["relay"].found == f"127.0.0.1:{relay}: connected, TLS, logged in; nothing was sent"
    assert sorted(platform.asked) == ["/", "/v2/conversations?limit=1"]


def test_what_is_wrong_outside_is_said_with_its_mend(platform: Listing, tmp_path: Path) -> None:
    platform.ahead = timedelta(minutes=2)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
        values: dict[str, Any] = {
            "domain": DOMAIN,
            "store": {"url": f"sqlite:///{tmp_path}/none.db"},
            "smtp": {"port": nobody},
            "http": {"port": nobody},
            "relay": {"host": "127.0.0.1", "port": nobody, "username": "us", "password": PASSWORD},
            "platform": {"base_url": f"http://127.0.0.1:{platform.server_port}", "api_key": "wrong"},
            "targets": {
                "scenario_meeting": {"base_url": f"http://127.0.0.1:{platform.server_port}", "api_key": "wrong"}
            },
        }
        found = examined(Settings(**values), Zone(silent={f"_dmarc.{DOMAIN}"}), nobody)
    wrong = {check for check, state in states(found).items() if state == "not ok"}
    assert wrong == {
        "store", "clock", f"MX of {DOMAIN}", f"SPF of {DOMAIN}", f"DKIM of {DOMAIN}", f"DMARC of {DOMAIN}",
        f"smtp.port {nobody}", "relay", "platform", "targets.scenario_meeting", "http.public_url",
        f"http.port {nobody}",
    }  # fmt: skip
    assert found["clock"].found in ("120 s behind the platform", "119 s behind the platform")
    assert found["platform"].found == "it refuses the key (401)"
    assert found[f"DMARC of {DOMAIN}"].found == "DNS does not answer"
    assert not (tmp_path / "none.db").exists()
    assert all(found[check].mend for check in wrong)


def test_a_port_that_is_somebody_elses_is_not_ours(running: Running, tmp_path: Path) -> None:
    """Also another gateway's, which another domain's mail comes to."""
    port = running.gateway.smtp_port
    line = examined(settings_for(tmp_path, domain="pals.elsewhere.test", smtp={"port": port}), Zone())[
        f"smtp.port {port}"
    ]
    assert (line.state, line.found) == ("not ok", f"220 {DOMAIN} PAL gateway")
    assert line.mend.endswith("it would say 220 pals.elsewhere.test PAL gateway")


def test_a_relay_that_refuses_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    with relaying(authority) as (port, _):
        relay = {"host": "127.0.0.1", "port": port, "username": "us", "password": "wrong"}
        settings = settings_for(tmp_path, relay=relay)
        assert "CERTIFICATE_VERIFY_FAILED" in examined(settings, Zone())["relay"].found
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        line = examined(settings, Zone())["relay"]
    assert (line.state, line.found) == ("not ok", "it refuses the login (535)")


def test_who_says_nothing_is_waited_for_a_little(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        relay = {"host": "127.0.0.1", "port": port}
        platform = {"base_url": f"http://127.0.0.1:{port}", "api_key": KEY}
        began = utc_now()
        settings = settings_for(tmp_path, domain=DOMAIN, relay=relay, platform=platform, smtp={"port": port})
        found = examined(settings, zone(), port, seconds=2)
        assert utc_now() - began < timedelta(seconds=15)
    for check in ("relay", "platform", f"smtp.port {port}", f"port {port} of mx.{DOMAIN}"):
        assert found[check].state == "not ok", found[check]


@pytest.mark.parametrize(
    ("broken", "found", "mend"),
    [
        ("ended", "it has ended", "renew it"),
        ("soon", "it ends on", "renew it"),
        ("another", "is not the one of the certificate", "look at smtp.tls_certificate"),
        ("missing", "cannot be read", "look at smtp.tls_certificate"),
        ("name", f"it is for other.example, not for mx.{DOMAIN}", "get one for the names in MX"),
    ],
)
def test_certificates(tmp_path: Path, broken: str, found: str, mend: str) -> None:
    authority = trustme.CA()
    ends = {"ended": utc_now() - timedelta(days=1), "soon": utc_now() + timedelta(days=3)}.get(broken)
    name = "other.example" if broken == "name" else f"mx.{DOMAIN}"
    files = certificate(tmp_path, authority, name, ends=ends)
    if broken == "another":
        (tmp_path / "key.pem").write_bytes(authority.issue_cert(name).private_key_pem.bytes())
    elif broken == "missing":
        (tmp_path / "key.pem").unlink()
    settings = settings_for(tmp_path, domain=DOMAIN, smtp={"port": 0, **files})
    line = examined(settings, zone())["TLS certificate"]
    assert (line.state, found in line.found, mend in line.mend) == ("not ok", True, True), line
    assert line.mend not in line.found


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = examined(settings_for(tmp_path, relay={"folder": tmp_path / "file" / "replies"}), Zone())
    line = found["relay.folder"]
    lacking = f"there is no {tmp_path}/file/replies"
    assert (line.state, line.found) == ("not ok", f"{lacking}, and {tmp_path}/file cannot be written to")


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, store={"url": "sqlite:////proc/nope/x.db"}, relay={"folder": "/proc/x"})
    found = examined(settings, Zone())
    said = {check: found[check].found for check in ("store", "folder of store.url", "relay.folder")}
    assert said == {
        "store": "there is no /proc/nope/x.db, and none can be made",
        "folder of store.url": "there is no /proc/nope, and /proc cannot be written to",
        "relay.folder": "there is no /proc/x, and /proc cannot be written to",
    }
    assert "or change relay.folder" in found["relay.folder"].mend


def test_who_cannot_be_asked_is_named_in_one_line(tmp_path: Path) -> None:
    url, platform = "postgresql://nobody@127.0.0.1:1/x", {"base_url": "http://127.0.0.1:1", "api_key": KEY}
    found = examined(settings_for(tmp_path, store={"url": url}, platform=platform), Zone())
    assert found["platform"].found.startswith("127.0.0.1:1: "), found["platform"]
    line = found["store"]
    assert ("127.0.0.1" in line.found, "its server runs" in line.mend) == (True, True), line
    assert "\N{REPLACEMENT CHARACTER}" not in line.found
    assert line.found.isprintable()


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is no database" * 100)
    line = examined(settings_for(tmp_path, store={"url": f"sqlite:///{tmp_path}/a.db"}), Zone())["store"]
    assert (line.found, "this file is no store" in line.mend) == ("file is not a database", True), line


def test_a_store_of_another_schema(tmp_path: Path, store_url: str) -> None:
    engine = open_store(store_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    engine.dispose()
    line = examined(settings_for(tmp_path, store={"url": store_url}), Zone())["store"]
    assert (line.state, line.mend) == ("not ok", "run pal-gateway db upgrade")


def test_the_command_says_all_in_lines_and_its_exit_code(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    here = {"GATEWAY_STORE__URL": url, "GATEWAY_SMTP__PORT": "0", "GATEWAY_HTTP__PORT": "0"}
    missing = run("doctor", env=here, cwd=tmp_path)
    assert (missing.returncode, missing.stderr) == (1, "")
    assert f"not ok   store: there is no {tmp_path}/a.db yet → pal-gateway db upgrade makes it" in missing.stdout
    assert run("db", "upgrade", env=here).returncode == 0
    whole = run("doctor", "--json", env=here, cwd=tmp_path)
    rows = [json.loads(line) for line in whole.stdout.splitlines()]
    assert (whole.returncode, {row["state"] for row in rows}) == (0, {"ok", "skipped"}), whole.stdout
    assert all(set(row) == {"check", "state", "found", "mend"} for row in rows)
    wrong = run("doctor", env={**here, "GATEWAY_SMTP__PORT": "many"})
    assert (wrong.returncode, wrong.stdout.startswith("not ok   settings: smtp.port: ")) == (1, True), wrong.stdout
