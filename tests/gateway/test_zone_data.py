"""New time-zone data: what was planned with the old is planned again when the gateway starts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

import scheduler.store
from gateway import store
from gateway.app import Gateway, open_store
from gateway.decide import Desk
from gateway.intake import Incoming, Intake, fresh_id
from gateway.pals import Pal
from gateway.settings import Settings
from scheduler.database import connect
from scheduler.dispatch import plan_further
from scheduler.event import Event
from scheduler.joins import LIVE, Join, Policy
from scheduler.zone_data import iana_version
from scheduler.zones import Zone
from tests.scenario import calendar_of

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)
ANNA = Pal("p1", "Anna", "anna@invite.example.com", "face")
HOUR = timedelta(hours=1)
SERIES = ("DTSTART;TZID=Europe/Berlin:20260302T140000", "RRULE:FREQ=DAILY;COUNT=4")
MOVED = ("RECURRENCE-ID:20260304T130000Z", "DTSTART;TZID=Europe/Berlin:20260304T160000")


@pytest.fixture
def engine() -> Engine:
    made = connect("sqlite://")
    store.create_throwaway(made)
    invite(made, *SERIES, "EXDATE:20260303T130000Z")
    invite(made, *MOVED, at=NOW + HOUR)
    return made


def invite(engine: Engine, *lines: str, at: datetime = NOW) -> None:
    with engine.begin() as connection:
        if store.find_pal(connection, ANNA.address) is None:
            store.add_pal(connection, ANNA, NOW)
    calendar = calendar_of("REQUEST", lines, ANNA.address, at)
    raw = f"From: alex@acme.example\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n{calendar}".encode()
    Intake(engine, Desk()).take(Incoming(fresh_id("m"), raw, "", (ANNA.address,)), at)


def live(engine: Engine) -> list[Join]:
    with engine.connect() as connection:
        return [join for join in scheduler.store.find_joins(connection) if join.state in LIVE]


def starts(engine: Engine) -> list[str]:
    return [f"{join.starts:%d %H:%M}" for join in live(engine)]


def change_law(engine: Engine, zone: str) -> None:
    """Write the event as it would be had Berlin been this zone when it was bound: what an update then mends."""
    with engine.begin() as connection:
        event = scheduler.store.load_event(connection, ANNA.id, "u1")
        assert event is not None
        assert event.master is not None
        moved = tuple(replace(one, zone=Zone(zone)) for one in event.overrides)
        renamed: Event = replace(event, master=replace(event.master, zone=Zone(zone)), overrides=moved)
        scheduler.store.save_event(connection, ANNA.attendant, renamed, None, is_new=False)


def plan(engine: Engine, at: datetime = NOW + HOUR) -> int:
    with engine.begin() as connection:
        return len(plan_further(connection, at, Policy(), 100))


def test_a_law_that_moves_a_zone_moves_what_is_planned(engine: Engine) -> None:
    assert starts(engine) == ["02 13:00", "04 15:00", "05 13:00"]
    before = {join.id for join in live(engine)}
    change_law(engine, "Europe/Kyiv")  # an hour east
    with engine.begin() as connection:
        assert store.follow_zone_data(connection, "older", NOW) == 0
        assert store.follow_zone_data(connection, "newer", NOW) == 1
    assert plan(engine) == 1
    # The excluded date stays out, the moved one stays one, and the joins are the same ones.
    assert starts(engine) == ["02 12:00", "04 14:00", "05 12:00"]
    assert {join.id for join in live(engine)} == before
    assert plan(engine) == 0


def test_the_moved_date_is_still_known_by_its_number(engine: Engine) -> None:
    change_law(engine, "Europe/Kyiv")
    invite(
        engine,
        "RECURRENCE-ID;TZID=Europe/Kyiv:20260304T140000",
        "DTSTART;TZID=Europe/Kyiv:20260304T180000",
        "SEQUENCE:1",
        at=NOW + 2 * HOUR,
    )
    assert starts(engine) == ["02 12:00", "04 16:00", "05 12:00"]


def test_the_same_data_plans_nothing_anew(engine: Engine) -> None:
    with engine.begin() as connection:
        store.follow_zone_data(connection, "same", NOW)
        assert store.follow_zone_data(connection, "same", NOW) == 0
    assert plan(engine) == 0


def test_events_without_joins_to_come_are_left_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(update(scheduler.store.joins).values(state="ended"))
        store.follow_zone_data(connection, "older", NOW)
        assert store.follow_zone_data(connection, "newer", NOW) == 0


def test_the_version_is_of_the_data() -> None:
    assert iana_version() == iana_version()
    assert len(iana_version()) == 32


def test_the_gateway_looks_when_it_starts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/gateway.db"
    engine = open_store(url)
    invite(engine, *SERIES)
    with engine.begin() as connection:
        store.remember(connection, "zone-data", b"older")
    settings = Settings.model_validate({"store": {"url": url}, "smtp": {"port": 0}, "http": {"port": 0}})
    gateway = Gateway(settings)
    try:
        with gateway.engine.connect() as connection:
            assert store.remember(connection, "zone-data", b"") == iana_version().encode()
            assert len(scheduler.store.events_to_refill(connection, datetime(2100, 1, 1, tzinfo=UTC), 10)) == 1
    finally:
        gateway.close_sockets()
        gateway.engine.dispose()
        engine.dispose()
