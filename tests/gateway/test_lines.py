"""Content lines that are split by one expression say what icalendar's parser says; RCPT asks beside a writer."""

from __future__ import annotations

from pathlib import Path

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway import store
from gateway.decide import Desk
from gateway.ics import _clear, _parsed
from gateway.intake import Intake
from scheduler.database import connect

VALUES = st.text(alphabet='aB 1-/@.+_=~:;,"^%\\\té\xa0', max_size=10)
PARAMETERS = st.tuples(
    st.sampled_from(["TZID", "CN", "X-b", "cn"]), VALUES | st.sampled_from(["Alex Kim", "a@b.example"])
)


@settings(max_examples=800, deadline=None, derandomize=True)
@given(st.lists(st.tuples(PARAMETERS, st.booleans()), min_size=1, max_size=3), VALUES)
def test_a_clear_line_is_what_icalendar_reads(parameters: list[tuple[tuple[str, str], bool]], value: str) -> None:
    written = (f';{name}="{text}"' if quoted else f";{name}={text}" for (name, text), quoted in parameters)
    line = f"ATTENDEE{''.join(written)}:{value}"
    clear = _clear(line)
    assume(clear is not None)
    assert clear == _parsed(line)


def test_who_asks_for_a_recipient_waits_for_no_writer(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/gateway.db")
    store.migrate(engine)
    intake = Intake(engine, Desk())
    with engine.begin():  # the store's only writer, until this ends
        assert intake.knows("nobody@invite.example.com") is None
    engine.dispose()
