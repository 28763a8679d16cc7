"""Why a join came to its end, in a sentence for people. Pure.

Rules of this file: a sentence for each reason of ours (`scheduler`); what a platform says is shown in its own words.
"""

from __future__ import annotations

from typing import Final

from scheduler.joins import BY_HAND
from scheduler.retry import REFUSED

_OURS: Final = {
    BY_HAND: "Somebody here cancelled it; the PAL stays away until the organizer moves the meeting or invites anew.",
    "cancelled": "The organizer cancelled this date or the whole event, or took the PAL out.",
    "rescheduled": "The organizer moved the meeting or gave it another link; another join took its place.",
    "pal-removed": "The PAL was removed, or can no longer be invited.",
    "ended-before-we-could-join": "The meeting was over before the PAL could be sent.",
    "platform-unreachable": "The platform did not answer until the meeting was nearly over.",
    "target-not-configured": "This gateway has no address of where the PAL is to be sent (setting targets).",
    "another-order": "The PAL was being sent into this call already.",
    "next-meeting-in-the-room": "The next meeting in the same room began.",
    "no-longer-there": "The platform does not know the call any more.",
    "ended-over-the-api": "Somebody ended the call over the API.",
    "deleted-over-the-api": "Somebody deleted the call over the API.",
}
_ANSWERED: Final = "platform-answered-"


def why_join(reason: str | None) -> str:
    """The sentence about the reason of a join, '' when there is none."""
    if not reason:
        return ""
    if reason.startswith(REFUSED):
        return f"The platform refused it ({reason.removeprefix(REFUSED)}), so it was not tried again."
    if reason.startswith(_ANSWERED):
        answer = reason.removeprefix(_ANSWERED)
        return f"The platform answered {answer}, and there was no time for another try before the end of the meeting."
    return _OURS.get(reason, f"The platform: {reason}")
