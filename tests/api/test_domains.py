"""White label: accounts whose PALs have their addresses in a domain of their own."""

from __future__ import annotations

import smtplib
from datetime import timedelta

import httpx
import pytest

import scheduler.store
from gateway import store
from gateway.demo import invitation
from gateway.domains import Domains
from gateway.pals import Pal
from scheduler.clock import utc_now
from tests.api.conftest import WHITE_LABEL, Running
from tests.api.test_specification import created, document, refused


@pytest.fixture
def acme(served: Running) -> httpx.Client:
    return served.client(served.key("acme"))


def rcpt(served: Running, address: str) -> tuple[int, bytes]:
    """What SMTP answers to a recipient."""
    with smtplib.SMTP("127.0.0.1", served.gateway.smtp_port) as client:
        client.helo("test")
        client.mail("alex@acme.example")
        return client.rcpt(address)


def test_a_pal_has_its_address_in_its_accounts_domain(served: Running, acme: httpx.Client, name: str) -> None:
    said = created(acme, document(name))
    address = f"{name}@meet.acme.com"
    assert said["conferencing_email"] == address
    assert rcpt(served, address.upper())[0] == 250
    assert rcpt(served, f"{name}@invite.example.com")[0] == 550
    _, raw = invitation(address, utc_now() + timedelta(days=3))
    with smtplib.SMTP("127.0.0.1", served.gateway.smtp_port) as client:
        assert client.sendmail("alex@acme.example", [address], raw) == {}
    with served.gateway.engine.connect() as connection:
        assert len(scheduler.store.find_joins(connection, pal_id=said["pal_id"])) == 1


def test_usernames_are_unique_per_domain(served: Running, acme: httpx.Client, api: httpx.Client, name: str) -> None:
    sister = served.client(served.key("acme-staging"))  # shares acme's domain
    path = f"/v2/pals/check-username?username={name}"
    created(acme, document(name))
    assert [one.get(path).json()["available"] for one in (acme, sister, api)] == [False, False, True]
    assert created(api, document(name))["conferencing_email"] == f"{name}@invite.example.com"
    assert "choose a different" in refused(sister.post("/v2/pals", json=document(name)))["layers.conferencing.username"]
    mine = created(sister, document())["pal_id"]
    operation = {"op": "add", "path": "/layers/conferencing/username", "value": name}
    assert refused(sister.patch(f"/v2/pals/{mine}", json=[operation]))
    operation["value"] = f"{name}-2"
    renamed = sister.patch(f"/v2/pals/{mine}", json=[operation]).json()
    assert renamed["conferencing_email"] == f"{name}-2@meet.acme.com"


@pytest.mark.parametrize("domain", ["invite.example.com", "meet.acme.com", "xn--bcher-kva.example"])
@pytest.mark.parametrize("role", ["postmaster", "Abuse"])
def test_roles_are_taken_for_each_domain(served: Running, role: str, domain: str) -> None:
    assert rcpt(served, f"{role}@{domain}")[0] == 250


def test_a_domain_in_another_script_is_the_same_in_an_envelope(served: Running) -> None:
    """RFC 6531: the envelope may have it in UTF-8."""
    with smtplib.SMTP("127.0.0.1", served.gateway.smtp_port) as client:
        client.ehlo("test")
        client.command_encoding = "utf-8"
        client.mail("alex@acme.example", ["SMTPUTF8"])
        assert client.rcpt("postmaster@Bücher.example")[0] == 250


def test_another_domain_is_refused_without_telling_which_there_are(served: Running) -> None:
    code, said = rcpt(served, "postmaster@acme.com")
    assert code == 550
    assert not [domain for domain in WHITE_LABEL.values() if domain.encode() in said]


def test_a_pal_keeps_its_address_until_it_is_renamed(served: Running, acme: httpx.Client, name: str) -> None:
    """It was made before its account got a domain."""
    address = f"{name}@invite.example.com"
    with served.gateway.engine.begin() as connection:
        store.add_pal(connection, Pal(f"p-{name}", "Ada", address, "r1", account="acme"), utc_now())
    path = f"/v2/pals/p-{name}"
    edited = acme.patch(path, json=[{"op": "replace", "path": "/pal_name", "value": "Bea"}]).json()
    assert (edited["pal_name"], edited["conferencing_email"]) == ("Bea", address)
    rename = [{"op": "replace", "path": "/layers/conferencing/username", "value": f"{name}-new"}]
    assert acme.patch(path, json=rename).json()["conferencing_email"] == f"{name}-new@meet.acme.com"


def test_an_address_whose_domain_is_not_taken_any_more_moves(served: Running, acme: httpx.Client, name: str) -> None:
    with served.gateway.engine.begin() as connection:
        pal = Pal(f"p-{name}", "Ada", f"{name}@gone.example", "r1", account="acme")
        store.add_pal(connection, pal, utc_now())
    edit = [{"op": "replace", "path": "/pal_name", "value": "Bea"}]
    assert acme.patch(f"/v2/pals/p-{name}", json=edit).json()["conferencing_email"] == f"{name}@meet.acme.com"


def test_two_accounts_may_share_a_domain() -> None:
    domains = Domains("invite.example.com", {"a": "meet.acme.com", "b": "meet.acme.com"})
    assert (domains.of("a"), domains.of("b"), domains.of("c")) == ("meet.acme.com", "meet.acme.com", domains.default)
