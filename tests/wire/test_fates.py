"""One invitation through a gateway by its log lines: the ids connect each line with the next, from DATA to the end of
the call, and no line has what people wrote unless that was asked for."""

from __future__ import annotations

import asyncio
import json
import smtplib
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import Gateway
from gateway.demo import invitation
from gateway.logs import configure
from gateway.settings import Settings
from scheduler.clock import utc_now
from scheduler.fates import MAX_IDS, named
from tests.wire.test_main_path import ANNA, conversations, joins_of, running, send, settings_for, until

TITLE = "Stand-up"  # of the invitation
WORDS = "You have been invited"
Line = dict[str, Any]


pytestmark = pytest.mark.usefixtures("logs_as_they_were")


async def walked(settings: Settings, capsys: pytest.CaptureFixture[str]) -> list[Line]:
    """The lines of an invitation that is accepted, answered, joined and ended."""
    capsys.readouterr()
    configure("json")
    lines: list[Line] = []

    async def said(event: str) -> list[Line]:
        lines.extend(json.loads(line) for line in capsys.readouterr().err.splitlines())
        return [line for line in lines if line["event"] == event]

    async with running(settings) as gateway:
        _, raw = invitation(ANNA, utc_now())
        await asyncio.to_thread(send, gateway, raw)
        await until(lambda: said("join joined"))
        await until(lambda: said("reply sent"))
        await ended(gateway)
        await until(lambda: said("join ended"))
    await said("")
    return lines


async def ended(gateway: Gateway) -> None:
    (join,) = await joins_of(gateway)
    body: dict[str, object] = {"event_type": "system.shutdown", "conversation_id": join.conversation_id}
    body |= {"properties": {"shutdown_reason": "participant_left_timeout"}}
    async with httpx.AsyncClient(trust_env=False) as client:
        for _ in range(2):  # what is heard twice is said once
            assert (await client.post(gateway.callbacks.url(join.id), json=body)).status_code == 200


def test_the_ids_connect_every_line(tmp_path: Path, store_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = asyncio.run(walked(settings_for(tmp_path, store={"url": store_url}), capsys))
    fates = [line for line in lines if line["event"].split()[0] in ("mail", "reply", "join")]
    of = {line["event"]: line for line in fates}
    assert sorted(line["event"] for line in fates) == sorted(
        ["mail accepted", "reply sent", "join started", "join joined", "join ended"]
    )
    mail, reply = of["mail accepted"], of["reply sent"]
    assert reply["mail"] == mail["mail"]
    assert mail["reply_ids"] == reply["reply"]
    assert mail["joins"] == "1"
    joins = [of[f"join {state}"] for state in ("started", "joined", "ended")]
    assert {line["join"] for line in joins} == {mail["join_ids"]}
    assert len({line["conversation"] for line in joins}) == 1
    assert of["join ended"]["reason"] == "participant_left_timeout"
    assert joins[0]["late"] <= joins[1]["late"]
    assert [line["event"] for line in lines if "gateway" in line["event"]] == ["gateway ready", "gateway stopped"]
    text = json.dumps(lines)
    assert TITLE not in text
    assert WORDS not in text
    assert "meet.google.com" not in text  # whoever has it may come in


def test_subjects_and_titles_are_named_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = asyncio.run(walked(settings_for(tmp_path, log_subjects=True), capsys))
    assert [line["subject"] for line in lines if "subject" in line] == [f"Invitation: {TITLE}"]
    assert {line["event"] for line in lines if line.get("title") == TITLE} >= {"join started", "join ended"}
    assert WORDS not in json.dumps(lines)


def test_a_refused_mail_has_an_id_and_what_is_quoted_of_another_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def path() -> list[Line]:
        async with running(settings_for(tmp_path)) as gateway:
            with pytest.raises(smtplib.SMTPDataError):
                await asyncio.to_thread(send, gateway, b"Subject: x\r\n\r\nFrom: nul \0\r\n")
            _, raw = invitation(ANNA, utc_now())
            broken = raw.replace(b"SEQUENCE:0", b"SECRET WORDS without a colon")
            assert broken != raw
            await asyncio.to_thread(send, gateway, broken)
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    capsys.readouterr()
    configure("json")
    lines = asyncio.run(path())
    refused, ignored = (line for line in lines if line["event"].startswith("mail "))
    assert refused["event"] == "mail refused"
    assert refused["mail"].startswith("m")
    assert refused["mail"] != ignored["mail"]
    assert ignored["reason"] == "unreadable"
    assert ignored["detail"] == "the line … is not NAME:VALUE"
    assert "SECRET" not in json.dumps(lines)


def test_a_call_that_is_ended_over_the_api_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def path() -> list[Line]:
        async with running(settings_for(tmp_path)) as gateway:
            _, raw = invitation(ANNA, utc_now())
            await asyncio.to_thread(send, gateway, raw)
            await until(lambda: conversations(gateway))
            await ended(gateway)
        return [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    capsys.readouterr()
    configure("json")
    assert len([line for line in asyncio.run(path()) if line["event"] == "join ended"]) == 1


def test_a_line_names_so_many_ids_at_most() -> None:
    ids = [f"j{number}" for number in range(MAX_IDS + 3)]
    assert named(ids) == f"{' '.join(ids[:MAX_IDS])} and 3 more"
    assert named(ids[:2]) == "j0 j1"
