"""Targets as tables: what each asks for, and what it reads from the answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.joins import Join, JoinState
from scheduler.targets import Call, Seen, Started, option_faults, targets

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
CALL = targets()["conversation"]
MEETING = targets()["scenario_meeting"]


def join(request: dict[str, Any], *, face_id: str = "f1", name: str = "Stand-up") -> Join:
    url = "https://meet.google.com/abc-defg-hij"
    return Join("j1", "p1", face_id, "u1", NOW, NOW, NOW, NOW, NOW, url, name, request=request)


def to_scenario(organizer: str = "alex@acme.example", **options: Any) -> Join:
    target = {"kind": "scenario_meeting", "scenario_id": 17, **options}
    return join({"target": target, "organizer": organizer})


def test_a_conversation_is_asked_for_under_the_specified_names() -> None:
    assert CALL.start(join({"properties": {"a": 1}}), "http://here/j1") == Call(
        "POST",
        "/v2/conversations",
        {
            "properties": {"a": 1},
            "pal_id": "p1",
            "face_id": "f1",
            "meeting_url": "https://meet.google.com/abc-defg-hij",
            "conversation_name": "Stand-up",
            "callback_url": "http://here/j1",
        },
        headers={"Idempotency-Key": "j1"},
    )
    assert "face_id" not in CALL.start(join({}, face_id=""), "http://here/j1").body


def test_a_regular_meeting_names_who_joins_and_passes_every_option_on() -> None:
    options: dict[str, Any] = {"language": "German", "allow_chat": True, "max_participants": 4, "deep_thinking": True}
    assert MEETING.start(to_scenario(**options), "") == Call(
        "POST",
        "/meetings",
        {"person_name": "alex@acme.example", "scenario_id": 17, **options},
        headers={"Idempotency-Key": "j1"},
    )
    assert MEETING.start(to_scenario("", person_name="Kim"), "").body["person_name"] == "Kim"
    assert MEETING.start(to_scenario(""), "").body["person_name"] == "Stand-up"


def test_a_dynamic_meeting_makes_the_organizer_its_end_user() -> None:
    call = MEETING.start(to_scenario(dynamic=True, metadata={"team": "red"}), "")
    told = {"event": "Stand-up", "join_id": "j1", "meeting_url": "https://meet.google.com/abc-defg-hij"}
    assert (call.path, call.body) == (
        "/meetings/dynamic",
        {"email": "alex@acme.example", "scenario_id": 17, "metadata": {**told, "team": "red"}},
    )
    assert "email" not in MEETING.start(to_scenario("", dynamic=True), "").body


@pytest.mark.parametrize(
    ("answer", "started"),
    [
        ({"id": 5, "room_url": "https://r", "room_token": "t"}, Started("5", {"url": "https://r", "token": "t"})),
        (
            {"status": "success", "data": {"meeting_id": "m5", "room_url": "https://r"}},
            Started("m5", {"url": "https://r"}),
        ),
        ({"data": {"meeting": {"id": "m5", "meeting_url": "https://m"}}}, Started("m5", {"url": "https://m"})),
        ({"data": {}}, None),
        ([], None),
        ({"id": True}, None),
    ],
)
def test_the_meetings_id_room_and_token_are_read(answer: Any, started: Started | None) -> None:
    assert MEETING.started(answer) == started


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        ({"data": {"status": "completed"}}, Seen(JoinState.ENDED, "meeting-completed")),
        ({"data": {"status": "in_progress"}}, Seen(JoinState.JOINED)),
        ({"status": "success", "data": {"status": "scheduled"}}, None),
        ({}, None),
        ("", None),
    ],
)
def test_the_state_of_a_meeting_is_read(answer: Any, seen: Seen | None) -> None:
    assert MEETING.seen(answer) == seen


@pytest.mark.parametrize(
    ("options", "faulty"),
    [
        ({"kind": "conversation"}, []),
        ({"kind": "conversation", "x": 1}, ["x"]),
        ({}, ["kind"]),
        ({"kind": ["scenario_meeting"]}, ["kind"]),
        ({"kind": "fax"}, ["kind"]),
        ({"kind": "scenario_meeting"}, ["scenario_id"]),
        ({"kind": "scenario_meeting", "scenario_id": True}, ["scenario_id"]),
        ({"kind": "scenario_meeting", "scenario_id": "s-1", "further": {"as": "given"}}, []),
        (
            {"kind": "scenario_meeting", "scenario_id": 1, "dynamic": 1, "max_participants": 0, "language": 7,
             "voice_vendor": "other", "metadata": []},
            ["dynamic", "max_participants", "language", "voice_vendor", "metadata"],
        ),
    ],
)  # fmt: skip
def test_every_fault_of_a_target_is_named(options: dict[str, Any], faulty: list[str]) -> None:
    assert [fault.partition(":")[0] for fault in option_faults(options)] == faulty
