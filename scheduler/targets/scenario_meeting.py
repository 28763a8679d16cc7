"""Meetings made from a scenario: the room is the target's own, and its URL and token are kept on the join
(specification, "Meetings"). Pure.

    "target": {"kind": "scenario_meeting", "scenario_id": 17, "dynamic": true, "language": "German", …}

Rules of this file:
- `dynamic` makes the organizer an end user of the scenario; without it the meeting is a regular one.
- Every other option is one of the page's optional parameters, under its name there, and is passed on as it is.
- It has no callbacks and no list to look a lost answer up in: it is asked by the meeting's id.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from scheduler.joins import Join, JoinState
from scheduler.targets import Call, Seen, Started

_TEXT: Final = frozenset({"voice_id", "language", "welcome_message", "first_name", "last_name", "person_name", "email"})
_SWITCHES: Final = frozenset(
    {
        "allow_recording", "allow_transcription", "allow_chat", "allow_screen_share", "allow_participant_video",
        "allow_participant_audio", "waiting_room_enabled", "auto_admit",
    }
)  # fmt: skip
_NUMBERS: Final = frozenset({"max_participants", "meeting_duration_minutes"})
_CHOICES: Final = {
    "meeting_type": ("regular", "end-user"),
    "voice_vendor": ("elevenlabs", "azure", "cartesia"),
}
_RUNNING: Final = frozenset({"active", "in_progress", "in-progress", "ongoing", "started"})
_ENDED: Final = frozenset({"ended", "completed", "cancelled", "canceled", "failed", "expired"})
MAX_OPTIONS: Final = 60


class ScenarioMeetings:
    """See the head of this file."""

    kind = "scenario_meeting"
    look_every = timedelta(minutes=1)

    def faults(self, options: Mapping[str, Any]) -> list[str]:
        found = []
        scenario = options.get("scenario_id")
        if isinstance(scenario, bool) or not isinstance(scenario, int | str) or scenario == "":
            found.append("scenario_id: The id of a scenario is required.")
        if len(options) > MAX_OPTIONS:
            found.append(f"A target has at most {MAX_OPTIONS} options.")
        return found + [f"{name}: {fault}" for name, value in options.items() if (fault := _fault(name, value))]

    def headers(self, api_key: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {api_key}"}

    def start(self, join: Join, callback_url: str) -> Call:
        options = {name: value for name, value in join.target.items() if name not in ("kind", "dynamic")}
        organizer = join.request.get("organizer", "")
        headers = {"Idempotency-Key": join.order_id}
        if join.target.get("dynamic"):
            told = {"event": join.name, "join_id": join.id, "meeting_url": join.url}
            metadata = {**told, **options.pop("metadata", {})}
            user = {"email": organizer} if organizer else {}
            return Call("POST", "/meetings/dynamic", {**user, **options, "metadata": metadata}, headers=headers)
        return Call("POST", "/meetings", {"person_name": organizer or join.name or "Guest", **options}, headers=headers)

    def started(self, answer: Any) -> Started | None:
        meeting = _meeting(answer)
        meeting_id = meeting.get("meeting_id", meeting.get("id"))
        if isinstance(meeting_id, bool) or not isinstance(meeting_id, int | str) or meeting_id == "":
            return None
        kept = {"url": meeting.get("room_url") or meeting.get("meeting_url"), "token": meeting.get("room_token")}
        return Started(str(meeting_id), {name: value for name, value in kept.items() if isinstance(value, str)})

    def search(self) -> None:
        return None

    def found(self, answer: Any, callback_url: str) -> None:
        return None

    def look(self, conversation_id: str) -> Call:
        return Call("GET", f"/meetings/{conversation_id}")

    def seen(self, answer: Any) -> Seen | None:
        status = str(_meeting(answer).get("status", "")).lower()
        if status in _ENDED:
            return Seen(JoinState.ENDED, f"meeting-{status}")
        return Seen(JoinState.JOINED) if status in _RUNNING else None

    def end(self, conversation_id: str) -> Call:
        return Call("PUT", f"/meetings/{conversation_id}/end")


def _meeting(answer: Any) -> dict[str, Any]:
    """The meeting of an answer, which may be wrapped in `data` or `meeting`."""
    for name in ("data", "meeting"):
        if isinstance(answer, dict) and isinstance(answer.get(name), dict):
            answer = answer[name]
    return answer if isinstance(answer, dict) else {}


def _fault(name: str, value: Any) -> str | None:
    if name == "dynamic" or name in _SWITCHES:
        return None if isinstance(value, bool) else "It is true or false."
    if name in _NUMBERS:
        return None if type(value) is int and value > 0 else "It is a number above 0."
    if name in _TEXT:
        return None if isinstance(value, str) and len(value) <= 10_000 else "It is a text."
    if name in _CHOICES:
        return None if value in _CHOICES[name] else f"It is one of {', '.join(_CHOICES[name])}."
    if name == "metadata":
        return None if isinstance(value, dict) else "It is an object."
    return None


TARGET = ScenarioMeetings()
