"""What those see who watch a gateway: /metrics as Prometheus reads it, /healthz and /readyz, over HTTP on loopback."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine
from typer.testing import CliRunner

from gateway import readiness
from gateway.app import Gateway
from gateway.cli import app
from gateway.config import BadConfig, load
from gateway.demo import invitation
from gateway.figures import Figures
from gateway.readiness import Readiness
from gateway.verdict import Reason, Verdict
from scheduler.clock import utc_now
from scheduler.fates import OTHER, Fates, known_reason
from scheduler.joins import Join, JoinState
from tests.wire.test_main_path import ANNA, conversations, joins_of, running, send, settings_for, until, written

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
OVER_HTTP = {"event_type": "system.shutdown", "properties": {"shutdown_reason": "Xyzzy <script> 4711"}}


def figures(text: str) -> dict[str, float]:
    """Each sample of a scrape, by its name and labels: `name{a=b}`."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def ask(port: int, path: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=20)


async def scrape(gateway: Gateway) -> dict[str, float]:
    answer = await ask(gateway.http_port, "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return figures(answer.text)


def test_one_invitation_in_figures(tmp_path: Path, store_url: str) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path, store={"url": store_url})) as gateway:
            before = await scrape(gateway)
            assert before["pal_gateway_mail_seconds_count"] == 0
            _, raw = invitation(ANNA, utc_now())
            await asyncio.to_thread(send, gateway, raw)
            await asyncio.to_thread(send, gateway, raw)  # the same once more

            async def joined() -> bool:
                return bool((await scrape(gateway))["pal_gateway_join_joined_seconds_count"] and written(gateway))

            await until(joined)
            (join,) = await joins_of(gateway)
            async with httpx.AsyncClient(trust_env=False) as client:
                body = {**OVER_HTTP, "conversation_id": join.conversation_id}
                for _ in range(2):  # the same once more
                    await client.post(gateway.callbacks.url(join.id), json=body)

            async def sent() -> bool:
                return bool((await scrape(gateway))["pal_gateway_replies_total{outcome=sent}"])

            await until(sent)
            after = await scrape(gateway)
        assert after["pal_gateway_mails_total{reason=none,verdict=accepted}"] == 1
        assert after["pal_gateway_mails_total{reason=duplicate,verdict=ignored}"] == 1
        assert after["pal_gateway_mail_answers_total{code=250}"] == after["pal_gateway_mail_seconds_count"] == 2
        assert 0 < after["pal_gateway_mail_seconds_sum"] < 20
        assert after["pal_gateway_join_attempts_total{outcome=started,target=conversation}"] == 1
        assert after["pal_gateway_join_dispatch_seconds_count"] == after["pal_gateway_join_joined_seconds_count"] == 1
        assert after["pal_gateway_join_dispatch_seconds_sum"] <= after["pal_gateway_join_joined_seconds_sum"]
        assert after["pal_gateway_join_ends_total{reason=other,state=ended}"] == 1
        assert after["pal_gateway_ready"] == after["pal_gateway_store_up"] == 1
        assert [name for name in after if "role" in name] == [
            f"pal_gateway_role{{role={role}}}" for role in ("smtp", "http", "scheduler")
        ]
        assert after["pal_gateway_target_circuit_open{target=conversation}"] == 0
        assert after["pal_gateway_target_pace{target=conversation}"] == float("inf")
        assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= after.keys()
        assert not [name for name in after if "xyzzy" in name.lower() or "4711" in name]

    asyncio.run(path())


def test_two_gateways_in_one_process_count_apart(tmp_path: Path) -> None:
    async def path() -> None:
        (tmp_path / "other").mkdir()
        async with running(settings_for(tmp_path)) as one, running(settings_for(tmp_path / "other")) as other:
            _, raw = invitation(ANNA, utc_now())
            await asyncio.to_thread(send, one, raw)
            counted = [(await scrape(gateway))["pal_gateway_mail_seconds_count"] for gateway in (one, other)]
        assert counted == [1, 0]

    asyncio.run(path())


def test_a_store_that_is_away_takes_its_figures_along_and_no_other(tmp_path: Path) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path)) as gateway:
            with gateway.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE outbox RENAME TO outbox_away")
            away = await scrape(gateway)
            with gateway.engine.begin() as connection:
                connection.exec_driver_sql("ALTER TABLE outbox_away RENAME TO outbox")
            back = await scrape(gateway)
        assert (away["pal_gateway_store_up"], back["pal_gateway_store_up"]) == (0, 1)
        assert "pal_gateway_joins_due" in back
        assert "pal_gateway_joins_due" not in away
        assert "pal_gateway_mail_seconds_count" in away

    asyncio.run(path())


@pytest.mark.parametrize(
    ("values", "given", "status"),
    [
        ({}, {}, 200),
        ({"networks": ["10.0.0.0/8"]}, {}, 404),
        ({"networks": []}, {}, 404),
        ({"token": "t0ken"}, {}, 404),
        ({"token": "t0ken"}, {"authorization": "Bearer other"}, 404),
        ({"token": "t0ken"}, {"authorization": "t0ken"}, 404),
        ({"token": "t0ken"}, {"authorization": "Bearer t0ken"}, 200),
        ({"token": "t0ken", "networks": ["10.0.0.0/8"]}, {"authorization": "Bearer t0ken"}, 404),
        # A proxy on this machine is believed about who asks.
        ({}, {"x-forwarded-for": "203.0.113.7"}, 404),
    ],
)
def test_who_may_read_the_figures(
    tmp_path: Path, values: dict[str, object], given: dict[str, str], status: int
) -> None:
    async def path() -> None:
        async with running(settings_for(tmp_path, metrics=values)) as gateway:
            answer = await ask(gateway.http_port, "/metrics", **given)
            nothing = await ask(gateway.http_port, "/there-is-no-such-thing")
            assert answer.status_code == status
            assert (answer.content == nothing.content) == (status == 404)
            assert (await ask(gateway.http_port, "/readyz", **given)).status_code == 200

    asyncio.run(path())


def test_a_process_without_http_answers_on_a_port_of_its_own(tmp_path: Path) -> None:
    async def path() -> None:
        values = {"metrics": {"port": 0}, "roles": ["smtp"]}
        async with running(settings_for(tmp_path, **values)) as gateway:
            assert gateway.http_port == 0
            answers = [await ask(gateway.watch_port, f"/{name}") for name in ("healthz", "readyz", "metrics")]
            assert [one.status_code for one in answers] == [200, 200, 200]
            assert figures(answers[2].text)["pal_gateway_role{role=smtp}"] == 1
            others = [await ask(gateway.watch_port, name) for name in ("/v2/pals", "/docs", "/openapi.json")]
            assert [one.status_code for one in others] == [404, 404, 404]

    asyncio.run(path())


def test_a_stop_under_way_is_not_ready(tmp_path: Path) -> None:
    """The API is still there while mails and joins come to their end."""

    async def path() -> None:
        async with running(settings_for(tmp_path)) as gateway:
            _, raw = invitation(ANNA, utc_now())
            await asyncio.to_thread(send, gateway, raw)
            await until(lambda: conversations(gateway))
            gateway.watch.take_no_more()
            answer = await ask(gateway.http_port, "/readyz")
            assert (answer.status_code, answer.json()["message"]) == (503, readiness.STOPPING)
            assert (await ask(gateway.http_port, "/healthz")).status_code == 200

    asyncio.run(path())


def test_a_store_that_only_reads_is_not_ready(tmp_path: Path) -> None:
    """SQLite's own switch, so that it holds for root, too."""

    async def path() -> None:
        async with running(settings_for(tmp_path)) as gateway:
            ready = Readiness(gateway.engine)
            only_reads(gateway.engine, "ON")
            assert await ready.fault() == readiness.READ_ONLY
            only_reads(gateway.engine, "OFF")
            assert await ready.fault() == ""

    asyncio.run(path())


def only_reads(engine: Engine, switch: str) -> None:
    raw = engine.raw_connection()  # outside of any transaction, which would begin as a writer's
    try:
        raw.cursor().execute(f"PRAGMA query_only={switch}")
    finally:
        raw.close()


def test_the_command_asks_by_the_settings(tmp_path: Path) -> None:
    def command(ports: dict[str, int]) -> tuple[int, str]:
        variables = {f"GATEWAY_{name}__PORT": str(port) for name, port in ports.items()}
        result = CliRunner().invoke(app, ["readyz"], env=variables)
        return result.exit_code, result.output.strip()

    async def path() -> int:
        async with running(settings_for(tmp_path, metrics={"port": 0})) as gateway:
            await until(lambda: is_ready(gateway))
            by_http = {"HTTP": gateway.http_port}
            for ports in (by_http, {"HTTP": 1, "METRICS": gateway.watch_port}):
                assert await asyncio.to_thread(command, ports) == (0, "ready")
            gateway.watch.take_no_more()
            assert await asyncio.to_thread(command, by_http) == (1, readiness.STOPPING)
            return gateway.http_port

    code, said = command({"HTTP": asyncio.run(path())})
    assert code == 1
    assert said.startswith("No gateway answers at 127.0.0.1:")


async def is_ready(gateway: Gateway) -> bool:
    return (await ask(gateway.http_port, "/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("said", "known"),
    [
        ("", "none"),
        (None, "none"),
        ("participant_left_timeout", "participant-left"),
        ("Bot could not join: waiting room", "not-let-in"),
        ("end_conversation_endpoint_hit", "ended-over-the-api"),
        ("removed by the host", "sent-away"),
        ("max_call_duration_reached", "max-call-duration"),
        ("platform-refused-404", "platform-refused"),
        ("platform-answered-503", "platform-answered"),
        ("ended-before-we-could-join", "ended-before-we-could-join"),
        ('x" } 1\npal_gateway_ready 1', OTHER),
        ("x" * 100_000, OTHER),
    ],
)
def test_a_reason_is_one_of_few_words(said: str | None, known: str) -> None:
    assert known_reason(said) == known


def test_that_figures_cost_little() -> None:
    """All that is counted of a mail and of its join; the goal is 50 µs."""
    counted, rounds = Figures(), 2000
    join = Join("j", "p", "f", "u", NOW, NOW, NOW, NOW, NOW, "https://x.example", "x")
    best = min(timed(counted, counted.fates, join, rounds) for _ in range(5))
    assert best < 50e-6


def timed(counted: Figures, fates: Fates, join: Join, rounds: int) -> float:
    began = perf_counter()
    for _ in range(rounds):
        counted.decided(Verdict.DECLINED, Reason.OVER_QUOTA)
        counted.answered("250 2.0.0 OK", 0.01)
        counted.replied("sent")
        fates.settled(join, JoinState.STARTED, "started", None, NOW)
    return (perf_counter() - began) / rounds


@pytest.mark.parametrize("networks", ["10.0.0.0/33", "everybody"])
def test_networks_that_are_none_are_told(monkeypatch: pytest.MonkeyPatch, networks: str) -> None:
    monkeypatch.setenv("GATEWAY_METRICS__NETWORKS", f'["{networks}"]')
    with pytest.raises(BadConfig, match=r"metrics\.networks"):
        load()
