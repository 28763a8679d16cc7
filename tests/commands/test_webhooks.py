"""`pal-gateway webhooks`, on both stores."""

from __future__ import annotations

import asyncio
import json
from ipaddress import ip_network
from typing import Any

from gateway import store_webhooks
from gateway.telling import Telling
from scheduler.clock import utc_now
from scheduler.database import connect
from tests.commands.words import run
from tests.receiver import receiving


def command(url: str, *words: str) -> Any:
    loopback = {"GATEWAY_CALLBACKS__PRIVATE_NETWORKS": '["127.0.0.0/8"]'}
    return run("webhooks", *words, env={"GATEWAY_STORE__URL": url, **loopback})


def test_an_endpoint_is_added_told_and_removed(store_url: str) -> None:
    with receiving() as receiver:
        receiver.answers = [410]
        added = command(store_url, "add", receiver.url, "--account", "acme", "--event", "join.failed")
        assert added.returncode == 0, added.stderr
        (listed,) = command(store_url, "list", "--account", "acme", "--json").stdout.splitlines()
        known = json.loads(listed)
        assert (known["url"], known["events"], known["disabled_at"]) == (receiver.url, ["join.failed"], None)
        assert added.stdout.startswith("whsec_")
        assert known["id"] in added.stderr
        assert command(store_url, "list", "--account", "books").stdout == ""
        engine = connect(store_url)
        with engine.begin() as connection:
            webhook = store_webhooks.find(connection, known["id"])
            assert webhook is not None
            queued = store_webhooks.test(connection, webhook, utc_now())
        early = command(store_url, "retry", queued.id)
        assert (early.returncode, early.stderr) == (1, f"pal-gateway: {queued.id} waits to be sent already.\n")
        asyncio.run(Telling(engine, [ip_network("127.0.0.0/8")], utc_now, "us").work())
        engine.dispose()
        assert receiver.heard[0].is_signed_with(added.stdout.strip())
    (line,) = command(store_url, "deliveries", known["id"], "--json").stdout.splitlines()
    told = json.loads(line)
    assert (told["id"], told["state"], told["status"], told["attempts"]) == (queued.id, "failed", 410, 1)
    assert "failed  webhook.test  attempt 1  answered 410" in command(store_url, "deliveries", known["id"]).stdout
    assert "410 Gone" in command(store_url, "list").stdout
    refused = command(store_url, "retry", queued.id)
    assert (refused.returncode, "is disabled" in refused.stderr) == (1, True)
    assert command(store_url, "remove", known["id"]).returncode == 0
    for words in (("deliveries", known["id"]), ("remove", known["id"]), ("retry", queued.id)):
        gone = command(store_url, *words)
        assert (gone.returncode, "There is no" in gone.stderr) == (1, True), words


def test_what_is_no_endpoint_is_refused(store_url: str) -> None:
    for words, said in (
        (("add", "ftp://acme.example/", "--account", "acme"), "is no http or https address"),
        (("add", "https://acme.example/", "--account", "acme", "--event", "join.tried"), "is not a type of event"),
        (
            ("add", "http://10.0.0.1/", "--account", "acme"),
            "10.0.0.1 is no address on the Internet, nor in ca",
        ),
        (("add", "http://[::1]/", "--account", "acme"), "::1 is no address on the Internet, nor in ca"),
        (("add", "https://acme.example/", "--account", ""), "An account has 1 to 200"),
    ):
        refused = command(store_url, *words)
        assert (refused.returncode, said in refused.stderr) == (2, True), refused.stderr
