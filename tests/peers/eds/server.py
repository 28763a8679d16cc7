"""EDS behind JSON lines: one request a line on stdin, one answer a line on stdout. Runs under the system's python3.

Rules of this file:
- It runs inside `dbus-run-session` with a HOME of its own (see client.py); nothing of the user's calendars is reached.
- The first line out is {"ready": version}, or {"missing": reason} where the parts are not installed.
- Every judgement is EDS's and libical's. The one step that EDS leaves to Evolution's mail view, writing a REPLY's
  PARTSTAT into the organizer's copy, is taken here with EDS's own calls (`answer`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

try:
    import gi

    gi.require_version("ECal", "2.0")
    gi.require_version("EDataServer", "1.2")
    gi.require_version("ICalGLib", "3.0")
    from gi.repository import ECal, EDataServer, Gio, GLib, ICalGLib
except (ImportError, ValueError) as error:
    print(json.dumps({"missing": str(error)}), flush=True)
    sys.exit(0)

Json = dict[str, Any]
ANY_TIME = 0xFFFFFFFF  # wait for the backend as long as it takes; the client has the time limit
ASKED_AGAIN = 1000  # times; measured: once or twice in a hundred calendars, and then the second question does it


class Calendar:
    """One empty calendar of EDS's file backend, in a registry that is the session's own."""

    def __init__(self, registry: Any) -> None:
        source = EDataServer.Source.new(None, None)
        source.set_parent("local-stub")
        source.set_display_name("peer")
        source.get_extension(EDataServer.SOURCE_EXTENSION_CALENDAR).set_backend_name("local")
        registry.commit_source_sync(source, None)  # returns once the registry has announced it
        known = registry.ref_source(source.get_uid())
        self.client = _connected(known)

    def receive(self, request: Json) -> Json:
        """An iTIP message arrives: REQUEST or CANCEL for an attendee's copy, or the organizer's own copy."""
        calendar = ICalGLib.Component.new_from_string(request["ics"])
        return {"ok": self.client.receive_objects_sync(calendar, ECal.OperationFlags.NONE, None)}

    def answer(self, request: Json) -> Json:
        """A REPLY arrives at the organizer: find the event or date, find its attendee, write down the PARTSTAT."""
        calendar = ICalGLib.Component.new_from_string(request["ics"])
        if calendar.get_method() != ICalGLib.PropertyMethod.REPLY:
            return {"error": "not a REPLY"}
        return {"answered": [self._answer(event) for event in _events(calendar)]}

    def _answer(self, event: Any) -> Json:
        reply = ECal.Component.new_from_icalcomponent(event.clone())
        uid, date = reply.get_uid(), reply.get_recurid_as_string() if reply.is_instance() else None
        _, held = self.client.get_object_sync(uid, date, None)
        if event.get_sequence() > held.get_sequence():
            raise ValueError("a REPLY does not raise the SEQUENCE (RFC 5546 2.1.4)")
        replying = list(_attendees(event))
        if len(replying) != 1:
            raise ValueError(f"a REPLY has one ATTENDEE (RFC 5546 3.2.3), this one {len(replying)}")
        invited = next((one for one in _attendees(held) if _address(one) == _address(replying[0])), None)
        if invited is None:
            raise ValueError(f"{_address(replying[0])} was not invited")
        invited.set_parameter_from_string("PARTSTAT", replying[0].get_parameter_as_string("PARTSTAT"))
        mode = ECal.ObjModType.ALL if date is None else ECal.ObjModType.THIS
        self.client.modify_object_sync(held, mode, ECal.OperationFlags.NONE, None)
        return {"uid": uid, "date": date}

    def dump(self, _: Json) -> Json:
        """Every component that is held, as libical reads it."""
        _, held = self.client.get_object_list_sync("#t", None)
        return {"objects": [_described(one) for one in held]}

    def instances(self, request: Json) -> Json:
        """The occurrences that start in a window of instants, cancelled ones left out."""
        after, before = (datetime.fromisoformat(request[name]).timestamp() for name in ("from", "to"))
        found: list[tuple[str, str]] = []

        def note(event: Any, start: Any, end: Any, *_: Any) -> bool:
            if not _is_cancelled(event) and after <= _timestamp(start) < before:
                found.append((_instant(start), _instant(end)))
            return True

        self.client.generate_instances_sync(int(after), int(before), None, note, None)
        return {"occurrences": sorted(found)}


def _connected(source: Any) -> Any:
    """A client of the source. The factory of clients hears of a new source by a signal of its own, perhaps later."""
    for _ in range(ASKED_AGAIN):
        try:
            return ECal.Client.connect_sync(source, ECal.ClientSourceType.EVENTS, ANY_TIME, None)
        except GLib.Error as error:
            if not error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.NOT_FOUND):
                raise
    raise RuntimeError("the calendar factory never heard of the new calendar")


def _events(calendar: Any) -> Iterator[Any]:
    kind = ICalGLib.ComponentKind.VEVENT_COMPONENT
    event = calendar.get_first_component(kind)
    while event is not None:
        yield event
        event = calendar.get_next_component(kind)


def _attendees(event: Any) -> Iterator[Any]:
    kind = ICalGLib.PropertyKind.ATTENDEE_PROPERTY
    attendee = event.get_first_property(kind)
    while attendee is not None:
        yield attendee
        attendee = event.get_next_property(kind)


def _address(attendee: Any) -> str:
    return str(attendee.get_attendee()).strip().lower().removeprefix("mailto:")


def _is_cancelled(event: Any) -> bool:
    status = event.get_first_property(ICalGLib.PropertyKind.STATUS_PROPERTY)
    return status is not None and status.get_value_as_string() == "CANCELLED"


def _described(held: Any) -> Json:
    component = ECal.Component.new_from_icalcomponent(held.clone())
    return {
        "uid": held.get_uid(),
        "date": component.get_recurid_as_string() if component.is_instance() else None,
        "sequence": held.get_sequence(),
        "partstats": {_address(one): one.get_parameter_as_string("PARTSTAT") for one in _attendees(held)},
        "text": held.as_ical_string(),
    }


def _timestamp(time: Any) -> int:
    # Days and floating times are read in UTC, the session's zone.
    zone = time.get_timezone() or ICalGLib.Timezone.get_utc_timezone()
    return int(time.as_timet_with_zone(zone))


def _instant(time: Any) -> str:
    return datetime.fromtimestamp(_timestamp(time), UTC).isoformat()


def main() -> None:
    """Answers until stdin ends."""
    try:
        registry = EDataServer.SourceRegistry.new_sync(None)
        calendar = Calendar(registry)
    except GLib.Error as error:
        print(json.dumps({"missing": error.message}), flush=True)
        return
    print(json.dumps({"ready": _version()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["op"] == "reset":
            calendar = Calendar(registry)
        print(json.dumps(_answered(calendar, request)), flush=True)


def _version() -> str:
    return ".".join(str(getattr(EDataServer, f"EDS_{part}_VERSION")) for part in ("MAJOR", "MINOR", "MICRO"))


def _answered(calendar: Calendar, request: Json) -> Json:
    operations: dict[str, Callable[[Json], Json]] = {
        "reset": lambda _: {"ok": True},
        "receive": calendar.receive,
        "answer": calendar.answer,
        "dump": calendar.dump,
        "instances": calendar.instances,
    }
    try:
        return operations[request["op"]](request)
    except (GLib.Error, ValueError, TypeError) as error:
        return {"error": str(error)}


if __name__ == "__main__":
    main()
