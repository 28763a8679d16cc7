"""What the desk says to a mail: verdicts and reasons. Pure values.

Rules of this file: one member per reason, its sentence beside it. A sentence that goes to an organizer says the mend.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Verdict(StrEnum):
    ACCEPTED = "accepted"  # the PAL will be there
    DECLINED = "declined"  # it will not, and says why
    CANCELLED = "cancelled"  # the organizer took the event, a date, or the PAL out
    OUTDATED = "outdated"  # older than what is known; nothing changed
    IGNORED = "ignored"  # nothing for an attendee to do
    REJECTED = "rejected"  # not from who may say so; nothing changed, nothing sent
    QUARANTINED = "quarantined"  # kept aside because of a bug of ours or what it costs, to be played again


class Reason(StrEnum):
    NO_MEETING_LINK = "no-meeting-link"
    LINK_NOT_JOINABLE = "link-not-joinable"
    NOT_ON_ALLOWLIST = "not-on-allowlist"
    NOT_AUTHENTICATED = "not-authenticated"
    NOT_THE_ORGANIZER = "not-the-organizer"
    ALREADY_ENDED = "already-ended"
    ALL_DAY = "all-day"
    TOO_LONG = "too-long"
    TOO_FAR_AHEAD = "too-far-ahead"
    OVER_QUOTA = "over-quota"
    UNKNOWN_TIME_ZONE = "unknown-time-zone"
    INVALID = "invalid"
    UNREADABLE = "unreadable"
    NO_CALENDAR = "no-calendar"
    FORWARDING_CONFIRMATION = "forwarding-confirmation"
    NO_EVENT = "no-event"
    REPORT = "report"
    TNEF = "tnef"
    NO_METHOD = "no-method"
    NO_ORGANIZER = "no-organizer"
    NOT_FOR_ATTENDEES = "not-for-attendees"
    OWN_EVENT = "own-event"
    DUPLICATE = "duplicate"
    UNKNOWN_EVENT = "unknown-event"
    NOT_INVITED = "not-invited"
    DECLINED_FOR_US = "declined-for-us"
    PAL_REMOVED = "pal-removed"
    MISSED = "missed"
    CALL_REFUSED = "call-refused"
    CALL_UNREACHABLE = "call-unreachable"
    TOO_COSTLY = "too-costly"
    ERROR = "error"


@dataclass(frozen=True)
class SeenLink:
    """A link that stands in an event: in which field, where it leads (its canonical form), whether a PAL can be sent
    there, and whether it is the one that counts."""

    field: str
    platform: str
    url: str
    joinable: bool
    chosen: bool


# For the organizer, in the reply. {pal} and {platform} are filled in.
TO_ORGANIZER: Final = {
    Reason.NO_MEETING_LINK: "There is no Google Meet link in this event. Add one and send the invitation again.",
    Reason.LINK_NOT_JOINABLE: (
        "This event has a {platform} link, which {pal} cannot join yet. "
        "Add a Google Meet link and send the invitation again."
    ),
    Reason.NOT_ON_ALLOWLIST: (
        "{pal} takes invitations from known senders only. Ask whoever runs {pal} to add your address to its allowlist."
    ),
    Reason.ALREADY_ENDED: "This event is already over. Choose a time to come and send the invitation again.",
    Reason.ALL_DAY: "{pal} cannot join an all-day event. Give it a start time and send the invitation again.",
    Reason.TOO_LONG: "This event is longer than {pal} can stay. Make it shorter and send the invitation again.",
    Reason.TOO_FAR_AHEAD: "This event is too far ahead for {pal}. Send the invitation again when it is closer.",
    Reason.OVER_QUOTA: (
        "{pal} cannot take more invitations today, or so many dates. "
        "Send the invitation again tomorrow, or for fewer dates."
    ),
    Reason.UNKNOWN_TIME_ZONE: (
        "The time zone of this event is not known, so {pal} cannot tell when it starts. "
        "Choose a time zone by city and send the invitation again."
    ),
    Reason.PAL_REMOVED: "{pal} is not available any more and will not join.",
    Reason.MISSED: (
        "{pal} missed this meeting: it was over before {pal} could join. "
        "If you meet again, choose a time to come and send the invitation again."
    ),
    Reason.CALL_REFUSED: (
        "{pal} could not join this meeting: the service that brings it into calls refused. "
        "Ask whoever runs {pal} to look into it, and send the invitation again."
    ),
    Reason.CALL_UNREACHABLE: (
        "{pal} could not join this meeting: the service that brings it into calls did not answer. "
        "If you meet again, choose a time to come and send the invitation again."
    ),
}

# For the operator, in the log and in `explain`.
TO_OPERATOR: Final = {
    Reason.NOT_AUTHENTICATED: "nobody vouches for the sender, and the PAL has an allowlist",
    Reason.FORWARDING_CONFIRMATION: (
        "Google asks to confirm that somebody's mail is forwarded here; see pal-gateway invites list --confirmations"
    ),
    Reason.NOT_THE_ORGANIZER: "the sender is not the one who invited the PAL to this event",
    Reason.INVALID: "the event lacks what an invitation must have",
    Reason.UNREADABLE: "the calendar part cannot be read",
    Reason.NO_CALENDAR: "there is no calendar part in this mail",
    Reason.NO_EVENT: "there is no event in the calendar part",
    Reason.REPORT: "a delivery report or an automatic answer, which may carry an invitation but is none",
    Reason.TNEF: "the calendar is inside winmail.dat (TNEF), which is not read",
    Reason.NO_METHOD: "the calendar part has no METHOD: a file, not an invitation (RFC 5546 1.4)",
    Reason.NO_ORGANIZER: "the event has no ORGANIZER, so there is nobody to answer",
    Reason.NOT_FOR_ATTENDEES: "this METHOD asks nothing of an attendee",
    Reason.OWN_EVENT: "the PAL is itself the organizer",
    Reason.DUPLICATE: "this version is known already",
    Reason.UNKNOWN_EVENT: "it cancels an event that is not known; remembered",
    Reason.NOT_INVITED: "the PAL is not among the attendees any more",
    Reason.DECLINED_FOR_US: "the organizer's copy says that the PAL does not attend",
    Reason.TOO_COSTLY: "reading it would take more time or memory than one mail may have; it is kept aside",
    Reason.ERROR: "a fault of ours; the mail is kept aside",
}

PLATFORM_NAMES: Final = {
    "google_meet": "Google Meet",
    "zoom": "Zoom",
    "teams": "Microsoft Teams",
    "webex": "Webex",
    "jitsi": "Jitsi",
    "whereby": "Whereby",
    "goto": "GoTo",
    "chime": "Amazon Chime",
    "ringcentral": "RingCentral",
    "slack": "Slack",
    "proton": "Proton Meet",
    "lark": "Lark",
    "daily": "Daily",
    "calcom": "Cal Video",
}
