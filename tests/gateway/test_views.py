"""How the page shows what others wrote, times, lateness and weeks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.page import views
from gateway.reasons import why_join
from scheduler.joins import Join, JoinState

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
JOIN = Join("j1", "p1", "face", "uid", NOW, NOW, NOW + timedelta(hours=1), NOW, NOW, "https://x.example", "Sync")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Weekly sync", "Weekly sync"),
        ("a\r\nb\tc", "a  b c"),
        ("pay\u202egnp.exe", "pay\ufffdgnp.exe"),
        ("\u2066isolated\u2069", "\ufffdisolated\ufffd"),
        ("zero\u200bwidth\ufeff", "zero\ufffdwidth\ufffd"),
        ("nul\0 esc\x1b[2J", "nul\ufffd esc\ufffd[2J"),
        ("\ud800", "\ufffd"),
        ("שלום עולם", "שלום עולם"),
        ("👩\u200d👧 می\u200cخواهم", "👩\u200d👧 می\u200cخواهم"),
        ("x" * 10_000, "x" * 200 + "…"),
        (None, ""),
    ],
)
def test_what_strangers_wrote_is_one_line_whose_marks_can_be_seen(text: str | None, shown: str) -> None:
    assert views.visible(text) == shown


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("https://meet.google.com/abc-defg-hij", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt://x.example/%0aalert(1)", False),
        ("data:text/html,x", False),
        ("http://x.example", False),
        ("https://", False),
        ("https://[", False),
        ("//x.example", False),
    ],
)
def test_only_a_web_address_can_be_clicked(address: str, may: bool) -> None:
    assert views.is_web_address(address) is may


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (61, "1 min 1 s"), (3600, "1 h"), (90_061, "1 d 1 h"), (45, "45 s")],
)
def test_a_length_of_time_is_said_in_its_two_largest_units(value: float, said: str) -> None:
    assert views.seconds(value) == said


@pytest.mark.parametrize(
    ("join", "late", "now", "said"),
    [
        (JOIN, None, NOW - timedelta(hours=1), ("planned", None)),
        (JOIN, None, NOW + timedelta(seconds=1), ("planned", None)),
        (JOIN, None, NOW + timedelta(seconds=7.5), ("planned", 7.0)),
        (replace(JOIN, attempt=2), None, NOW + timedelta(seconds=9), ("waits for another try", 9.0)),
        (replace(JOIN, attempt=1), 0.1, NOW - timedelta(hours=1), ("planned", None)),
        (replace(JOIN, state=JoinState.JOINED, attempt=1), 0.2, NOW + timedelta(hours=1), ("in the call", 0.2)),
        (replace(JOIN, state=JoinState.MISSED), None, NOW + timedelta(hours=2), ("missed", None)),
    ],
)
def test_how_late_a_join_is(join: Join, late: float | None, now: datetime, said: tuple[str, float | None]) -> None:
    (shown,) = views.join_views([join], {}, {"j1": late} if late is not None else {}, now)
    assert (shown.word, shown.late) == said


def test_a_week_has_seven_days_of_the_zone_also_when_its_clock_changes() -> None:
    monday = views.monday(date(2026, 3, 29))  # the day on which Berlin's clock goes forward
    assert monday == date(2026, 3, 23)
    late_on_sunday = replace(JOIN, starts=datetime(2026, 3, 29, 21, 30, tzinfo=UTC))  # 23:30 in Berlin
    monday_after = replace(JOIN, starts=datetime(2026, 3, 29, 22, 0, tzinfo=UTC))  # 00:00 in Berlin
    shown = views.join_views([late_on_sunday, monday_after], {}, {}, NOW)
    days = views.week(monday, shown, BERLIN, datetime(2026, 3, 28, 23, 30, tzinfo=UTC))
    assert [len(day.joins) for day in days] == [0, 0, 0, 0, 0, 0, 1]
    assert [day.is_today for day in days] == [False] * 6 + [True]


def test_the_histogram_counts_each_join_once() -> None:
    bars = views.histogram([0.0, 0.1, 0.11, 3, 3, 3, 61])
    assert [bar.count for bar in bars] == [2, 1, 0, 0, 3, 0, 0, 1]
    assert [bar.length for bar in bars] == [14, 7, 0, 0, 20, 0, 0, 7]
    assert [bar.count for bar in views.histogram([])] == [0] * 8


def test_the_history_and_the_callbacks_of_a_join_are_told_in_order() -> None:
    class Entry:
        at, kind, attempt, detail = NOW, "tried", 2, "answered 503"

    heard = [("system.replica_joined", NOW + timedelta(seconds=1)), ("early", NOW - timedelta(seconds=1))]
    assert [text for _, text in views.told([Entry()], heard)] == [
        "the platform called back: early",
        "tried, attempt 2: answered 503",
        "the platform called back: system.replica_joined",
    ]


OVER = timedelta(hours=2)
LATER = replace(JOIN, until=NOW + timedelta(hours=1))
AWAY = replace(LATER, state=JoinState.CANCELLED, reason="cancelled-by-hand")


@pytest.mark.parametrize(
    ("join", "now", "acts"),
    [
        (LATER, NOW, {"now", "cancel"}),
        (replace(LATER, attempt=1, owner="us"), NOW, {"cancel"}),
        (replace(LATER, attempt=1), NOW, {"now", "cancel"}),
        (replace(LATER, state=JoinState.JOINED), NOW, {"cancel"}),
        (replace(LATER, state=JoinState.FAILED), NOW, {"retry"}),
        (replace(LATER, state=JoinState.FAILED), NOW + OVER, set()),
        (AWAY, NOW, {"retry"}),
        (AWAY, NOW + OVER, set()),
        (replace(AWAY, reason="cancelled"), NOW, set()),
    ],
)
def test_only_what_can_be_done_is_offered(join: Join, now: datetime, acts: set[str]) -> None:
    (one,) = views.join_views([join], {}, {}, now)
    offered = {"now": one.may_come_now, "cancel": one.may_cancel, "retry": one.may_retry}
    assert {name for name, may in offered.items() if may} == acts


@pytest.mark.parametrize(
    ("reason", "says"),
    [
        (None, ""),
        ("platform-refused-400", "refused it (400)"),
        ("platform-answered-503", "answered 503"),
        ("cancelled-by-hand", "Somebody here"),
        ("max call duration reached", "The platform: max call duration reached"),
    ],
)
def test_why_a_join_came_to_its_end_is_a_sentence(reason: str | None, says: str) -> None:
    assert says in why_join(reason)
