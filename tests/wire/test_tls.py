"""TLS with the operator's certificate: STARTTLS, TLS from the first byte, a certificate that is renewed or broken."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
import warnings
from pathlib import Path
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs

from gateway.app import CannotStart, Gateway
from gateway.config import BadConfig, load
from gateway.inbound.dialogue import Kind
from gateway.settings import Settings
from tests.wire.ports import ANNA, DOMAIN, MAIL, Talk, port, talk


class Operator:
    """Has a certificate, and renews it."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.chain, self.key = folder / "chain.pem", folder / "key.pem"
        self.settings: dict[str, Any] = {"tls_certificate": self.chain, "tls_key": self.key}
        self.renew()

    def renew(self) -> bytes:
        """Write a new certificate and key in place of the old ones; the certificate, in DER."""
        made = self.authority.issue_cert(DOMAIN)
        self._put(self.key, made.private_key_pem.bytes())
        self._put(self.chain, b"".join(one.bytes() for one in made.cert_chain_pems))
        return ssl.PEM_cert_to_DER_cert(made.cert_chain_pems[0].bytes().decode())

    @staticmethod
    def _put(path: Path, data: bytes) -> None:
        fresh = path.with_suffix(".new")
        fresh.write_bytes(data)
        fresh.replace(path)

    def trust(self) -> ssl.SSLContext:
        """What a client needs to believe it."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    return Operator(tmp_path)


async def start_tls(client: Talk, context: ssl.SSLContext) -> None:
    assert "250-STARTTLS" in await client.say("EHLO c")
    assert (await client.say("STARTTLS")).startswith("220 2.0.0")
    await client.writer.start_tls(context, server_hostname=DOMAIN)


def shown(client: Talk) -> bytes:
    """The certificate that the server shows, in DER."""
    tls = client.writer.get_extra_info("ssl_object")
    return bytes(tls.getpeercert(binary_form=True))


def test_starttls_and_a_mail(tmp_path: Path, operator: Operator) -> None:
    async def path() -> None:
        async with port(tmp_path, **operator.settings) as here:

            def send() -> str:
                with smtplib.SMTP("127.0.0.1", here.number) as client:
                    client._host = DOMAIN  # type: ignore[attr-defined]  # what the certificate is compared with
                    client.starttls(context=operator.trust())
                    client.ehlo()
                    assert not client.has_extn("starttls")
                    assert not client.has_extn("auth")
                    assert client.docmd("STARTTLS")[0] == 503
                    client.sendmail("alex@acme.example", [ANNA], MAIL)
                    assert isinstance(client.sock, ssl.SSLSocket)
                    return str(client.sock.version())

            assert await asyncio.to_thread(send) == "TLSv1.3"
            assert len(here.mails()) == 1

    asyncio.run(path())


def test_tls_from_the_first_byte(tmp_path: Path, operator: Operator) -> None:
    async def path() -> None:
        async with port(tmp_path, Kind.SMTPS, **operator.settings) as here:
            async with talk(here.number, tls=operator.trust()) as client:
                assert "STARTTLS" not in await client.say("EHLO c")
                await client.begin()
                assert (await client.say(MAIL + b".")).startswith("250")
            assert len(here.mails()) == 1

    asyncio.run(path())


def test_what_was_sent_in_clear_before_tls_is_thrown_away(tmp_path: Path, operator: Operator) -> None:
    async def path() -> None:
        async with port(tmp_path, **operator.settings) as here, talk(here.number) as client:
            await client.say("EHLO c")
            await client.send(b"STARTTLS\r\nEHLO injected\r\nMAIL FROM:<evil@acme.example>\r\n")
            assert (await client.hear()).startswith("220")
            await client.writer.start_tls(operator.trust(), server_hostname=DOMAIN)
            assert (await client.say("MAIL FROM:<alex@acme.example>")).startswith("503 5.5.1")
            assert (await client.say("EHLO c")).startswith("250")

    asyncio.run(path())


@pytest.mark.parametrize("pause", [0, 0.2], ids=["with the handshake", "before it"])
def test_a_proxy_header_comes_before_tls(tmp_path: Path, operator: Operator, pause: float) -> None:
    async def path() -> None:
        async with port(tmp_path, Kind.SMTPS, **operator.settings, proxy_from=("127.0.0.0/8",)) as here:
            client = Talk(*await asyncio.open_connection("127.0.0.1", here.number))
            client.writer.write(b"PROXY TCP4 198.51.100.7 192.0.2.1 4000 25\r\n")
            await asyncio.sleep(pause)
            await client.writer.start_tls(operator.trust(), server_hostname=DOMAIN)
            assert (await client.hear()).startswith("220 ")
            await client.begin()
            assert (await client.say(MAIL + b".")).startswith("250")
            client.writer.close()
            await client.writer.wait_closed()

    asyncio.run(path())


@pytest.mark.parametrize("kind", [Kind.SMTP, Kind.SMTPS])
def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path, operator: Operator, kind: Kind) -> None:
    async def seen(number: int) -> bytes:
        if kind is Kind.SMTPS:
            async with talk(number, tls=operator.trust()) as client:
                return shown(client)
        async with talk(number) as client:
            await start_tls(client, operator.trust())
            return shown(client)

    async def path() -> None:
        async with port(tmp_path, kind, **operator.settings) as here:
            first = await seen(here.number)
            second = operator.renew()
            assert await seen(here.number) == second != first
            operator.chain.write_text("broken")
            with capture_logs() as lines:
                assert await seen(here.number) == second
                assert await seen(here.number) == second
                operator.key.unlink()
                assert await seen(here.number) == second
            assert [line["event"] for line in lines if line["log_level"] == "error"] == [
                "the old certificate stays"
            ] * 2
            assert await seen(here.number) == second
            assert operator.renew() == await seen(here.number)

    asyncio.run(path())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_the_oldest_tls_is_1_2(tmp_path: Path, operator: Operator, version: ssl.TLSVersion) -> None:
    context = operator.trust()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = version

    async def path() -> None:
        async with port(tmp_path, Kind.SMTPS, **operator.settings) as here:
            if version is ssl.TLSVersion.TLSv1_2:
                async with talk(here.number, tls=context):
                    pass
            else:
                with pytest.raises((ssl.SSLError, ConnectionError)):  # asyncio sends no alert
                    await asyncio.open_connection("127.0.0.1", here.number, ssl=context, server_hostname=DOMAIN)

    asyncio.run(path())


@pytest.mark.parametrize("kind", [Kind.SMTP, Kind.SMTPS])
@pytest.mark.parametrize("then", ["nonsense", "silence", "close"])
def test_a_handshake_that_fails_ends_the_connection(tmp_path: Path, operator: Operator, kind: Kind, then: str) -> None:
    async def path() -> None:
        async with port(tmp_path, kind, command_seconds=0.3, **operator.settings) as here:
            async with talk(here.number, greeted=kind is Kind.SMTP) as client:
                if kind is Kind.SMTP:
                    await client.say("EHLO c")
                    await client.say("STARTTLS")
                if then == "nonsense":
                    await client.send(b"this is no handshake" * 10)
                if then == "close":
                    client.writer.close()
                while here.edge.connected:
                    await asyncio.sleep(0.01)
            async with talk(here.number, greeted=kind is Kind.SMTP):
                pass

    asyncio.run(path())


def break_files(operator: Operator, how: str) -> None:
    if how == "missing":
        operator.key.unlink()
    elif how == "another's key":
        operator.key.write_bytes(operator.authority.issue_cert("other.example").private_key_pem.bytes())
    elif how == "no certificate":
        operator.chain.write_text("hello")
    else:
        operator.key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n")


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        (
            "missing",
            "key.pem cannot be read (No such file or directory); look at smtp.tls_certificate and smtp.tls_key.",
        ),
        ("another's key", "is not the one of the certificate"),
        ("no certificate", "are not a certificate chain and its key; write PEM without a passphrase"),
        ("a passphrase", "are not a certificate chain and its key; write PEM without a passphrase"),
    ],
)
def test_a_bad_certificate_is_one_sentence_at_start(
    tmp_path: Path, operator: Operator, how: str, sentence: str
) -> None:
    break_files(operator, how)
    values = {"store": {"url": f"sqlite:///{tmp_path}/g.db"}, "smtp": {"port": 0, **operator.settings}}
    settings = Settings.model_validate({**values, "http": {"port": 0}})
    with pytest.raises(CannotStart) as refused:
        Gateway(settings)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ('tls_key = "k.pem"', "smtp.tls_certificate is missing: a certificate and its key go together."),
        ('tls_certificate = "c.pem"', "smtp.tls_key is missing: a certificate and its key go together."),
        ("tls_port = 465", "smtp.tls_port needs smtp.tls_certificate and smtp.tls_key."),
        ('proxy_from = ["here"]', "smtp.proxy_from.0: value is not a valid IPv4 or IPv6 network, not 'here'."),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, lines: str, sentence: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f"[smtp]\n{lines}\n")
    with pytest.raises(BadConfig) as refused:
        load(file)
    assert str(refused.value) == sentence
