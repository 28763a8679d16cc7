"""`pal-gateway explain`: what a file would do, against a store that stays as it is; a decision, and its joins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import DBAPIError

from gateway import store, trial
from gateway.admission import Admission
from gateway.app import open_store
from gateway.authentication import Require
from gateway.demo import invitation
from gateway.pals import Pal, pal_id
from gateway.store_calls import note
from scheduler import journal
from scheduler.clock import utc_now
from scheduler.database import metadata
from scheduler.happening import Happening
from scheduler.store import find_joins
from tests.commands.words import run
from tests.security.world import BOSS, EVE, compose, sign, world

SAMPLES = Path(__file__).parent.parent.parent / "samples" / "google"
NEW, MOVED, SERIES = (str(SAMPLES / name) for name in ("01-new.eml", "03-rescheduled.eml", "06-series.eml"))
NOW = "2026-03-01T08:00:00Z"
ANNA = "anna@invite.example.com"
ALEX = "alex@acme.example"


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    engine = open_store(url)
    try:
        yield engine
    finally:
        engine.dispose()


def all_rows(url: str) -> dict[str, list[Any]]:
    with opened(url) as engine, engine.connect() as connection:
        return {one.name: [tuple(row) for row in connection.execute(select(one))] for one in metadata.sorted_tables}


def add_pal(url: str, *allowlist: str, zone: str | None = None) -> None:
    with opened(url) as engine, engine.begin() as connection:
        store.add_pal(connection, Pal(pal_id(ANNA), "Anna", ANNA, "f1", allowlist, zone), utc_now())


def told(url: str, *words: str, code: int = 0) -> dict[str, Any]:
    """The one JSON object that explain writes of a file."""
    done = run("explain", "--json", "--now", NOW, *words, env={"GATEWAY_STORE__URL": url})
    assert done.returncode == code, done.stderr
    (line,) = done.stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def calendar(folder: Path, name: str, *lines: str, uid: str = "u1", sequence: int = 0) -> str:
    path = folder / name
    head = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "METHOD:REQUEST", "BEGIN:VEVENT", f"UID:{uid}")
    more = (f"SEQUENCE:{sequence}", f"DTSTAMP:20260228T08000{sequence}Z", f"ORGANIZER:mailto:{ALEX}")
    path.write_text("\r\n".join((*head, *more, f"ATTENDEE:mailto:{ANNA}", *lines, "END:VEVENT", "END:VCALENDAR", "")))
    return str(path)


MEET = "LOCATION:https://meet.google.com/abc-defg-hij"


def test_a_fresh_machine_tells_all_that_is_documented_and_makes_nothing(tmp_path: Path) -> None:
    found = told(f"sqlite:///{tmp_path}/none/gateway.db", NEW)
    assert list(tmp_path.iterdir()) == []
    assert (found["file"], found["arrives_at"], found["refused"], found["edit"]) == (NEW, NOW, None, None)
    (one,) = found["decisions"]
    (candidate, *_) = [link for link in one["link_candidates"] if link["chosen"]]
    assert candidate["field"] == "X-GOOGLE-CONFERENCE"
    (date,) = one["occurrences"]
    assert date == {
        "recurrence_id": "2026-03-03T14:00:00Z",
        "starts": "2026-03-03T14:00:00Z",
        "ends": "2026-03-03T14:30:00Z",
        "starts_local": "2026-03-03T15:00:00",
        "ends_local": "2026-03-03T15:30:00",
        "zone": "Europe/Berlin",
        "title": "Roadmap review",
        "url": "https://meet.google.com/hpt-wvqk-bnm",
        "join_at": "2026-03-03T13:59:00Z",
    }
    (reply,) = one["replies"]
    assert (reply["to"], reply["partstat"], reply["kept_back"]) == (ALEX, "ACCEPTED", None)
    assert "METHOD:REPLY\r\n" in reply["calendar"]
    assert {name: one[name] for name in ("pal", "pal_known", "verdict", "reason", "sender", "authentication")} == {
        "pal": ANNA,
        "pal_known": False,
        "verdict": "accepted",
        "reason": None,
        "sender": ALEX,
        "authentication": None,
    }


def test_a_store_that_cannot_be_reached_is_named_and_done_without(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is no database" * 100)
    for url in ("postgresql://nobody@127.0.0.1:1/x", f"sqlite:///{tmp_path}/a.db"):
        env = {"GATEWAY_STORE__URL": url}
        done = run("explain", "--now", NOW, NEW, env=env)
        assert (done.returncode, ": accepted, for anna@" in done.stdout) == (0, True), done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith("pal-gateway: The store could not be asked, and this is told without it: ")
        (decision,) = told(url, NEW)["decisions"]
        assert decision["verdict"] == "accepted"
        of_id = run("explain", "m0123-0", env=env)
        assert (of_id.returncode, of_id.stdout) == (2, "")
        assert len(of_id.stderr.splitlines()) == 1


def test_an_id_is_asked_of_a_store_that_is_there(tmp_path: Path) -> None:
    done = run("explain", "m0123-0", env={"GATEWAY_STORE__URL": f"sqlite:///{tmp_path}/none/a.db"})
    assert (done.returncode, list(tmp_path.iterdir())) == (1, [])
    (line,) = done.stderr.splitlines()
    assert line == "pal-gateway: There is no store yet, so nothing was decided under m0123-0; look at store.url."


def test_it_is_decided_against_what_the_store_knows_and_leaves_it_as_it_is(store_url: str) -> None:
    add_pal(store_url, r".*@acme\.example")
    played = run("replay", "--now", NOW, "--store", store_url, NEW)
    assert played.returncode == 0, played.stderr
    before = all_rows(store_url)
    (again,) = told(store_url, NEW)["decisions"]
    assert (again["verdict"], again["reason"], again["pal_known"]) == ("ignored", "duplicate", True)
    (moved,) = told(store_url, MOVED)["decisions"]
    assert (moved["verdict"], moved["allowed_by"]) == ("accepted", r".*@acme\.example")
    assert [join["starts"] for join in moved["joins"]] == ["2026-03-04T15:00:00Z"]
    edited = told(store_url, MOVED, "--edit", NEW)["edit"]
    assert [one["verdict"] for one in edited["decisions"]] == ["outdated"]
    assert all_rows(store_url) == before


def test_the_connection_it_asks_cannot_write(store_url: str) -> None:
    add_pal(store_url)
    with trial.looking(store_url) as connection, pytest.raises(DBAPIError, match=r"(?i)read.?only"):
        connection.execute(text("DELETE FROM pals"))


def test_a_writer_is_not_waited_for(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    add_pal(url)
    with opened(url) as engine, engine.begin() as connection:  # BEGIN IMMEDIATE
        connection.execute(text("DELETE FROM pals"))
        assert told(url, NEW)["decisions"][0]["pal_known"]


def test_whom_it_reaches(tmp_path: Path, store_url: str) -> None:
    with opened(store_url) as engine, engine.begin() as connection:
        store.add_pal(connection, Pal("p9", "Ben", "ben@invite.example.com", "f1"), utc_now())
    assert told(store_url, NEW, code=1)["decisions"] == []
    words = run("explain", NEW, env={"GATEWAY_STORE__URL": store_url})
    assert (words.returncode, "reaches no PAL of the store" in words.stdout) == (1, True)
    (named,) = told(store_url, NEW, "--pal", "zoe@invite.example.com")["decisions"]
    assert (named["pal"], named["pal_known"], named["verdict"]) == ("zoe@invite.example.com", False, "accepted")
    (known,) = told(store_url, NEW, "--pal", "Ben@invite.example.com")["decisions"]
    assert (known["pal"], known["pal_known"]) == ("ben@invite.example.com", True)
    file = calendar(tmp_path, "a.ics", "DTSTART:20260303T140000Z", MEET)
    (only,) = told(f"sqlite:///{tmp_path}/none.db", file)["decisions"]
    assert (only["pal"], only["sender"], only["verdict"]) == (ANNA, ALEX, "accepted")


def test_a_declined_file_says_why_and_when_it_would_have_been(tmp_path: Path) -> None:
    file = calendar(tmp_path, "a.ics", "DTSTART:20260303T140000Z", "DURATION:PT1H", "SUMMARY:Lunch")
    done = run("explain", file, "--now", NOW, env={"GATEWAY_STORE__URL": f"sqlite:///{tmp_path}/none.db"})
    assert done.returncode == 0, done.stderr
    assert "u1: declined (no-meeting-link), for anna@invite.example.com (which the store does not have)" in done.stdout
    assert "  There is no Google Meet link in this event. Add one and send the invitation again." in done.stdout
    assert "  Tue 2026-03-03 14:00–15:00 UTC  not joined: there is no link that can be" in done.stdout
    assert f"Reply: DECLINED to {ALEX}: There is no Google Meet link" in done.stdout
    assert "  METHOD:REPLY" in done.stdout


def test_an_edit_is_told_before_and_after(tmp_path: Path) -> None:
    daily = ("DURATION:PT1H", MEET)
    before = calendar(tmp_path, "1.ics", "DTSTART:20260302T090000Z", "RRULE:FREQ=DAILY;COUNT=4", "SUMMARY:Old", *daily)
    after = calendar(
        tmp_path,
        "2.ics",
        "DTSTART:20260302T100000Z",
        "RRULE:FREQ=DAILY;COUNT=3",
        "SUMMARY:New",
        "DURATION:PT1H",
        MEET.replace("abc", "xyz"),
        sequence=1,
    )
    change = told(f"sqlite:///{tmp_path}/none.db", before, "--edit", after)["edit"]["changes"][0]
    assert change["changed"] == ["joins", "link", "next", "title"]
    assert change["title"] == {"before": "Old", "after": "New"}
    assert change["link"]["after"] == "https://meet.google.com/xyz-defg-hij"
    assert change["joins"] == {"before": 4, "after": 3}
    assert [(one["from"]["starts"], one["to"]["starts"]) for one in change["moved"]] == [
        (f"2026-03-0{day}T09:00:00Z", f"2026-03-0{day}T10:00:00Z") for day in (2, 3, 4)
    ]
    assert [one["starts"] for one in change["removed"]] == ["2026-03-05T09:00:00Z"]
    assert (change["added"], [one["starts"] for one in change["joins_cancelled"]]) == ([], ["2026-03-05T09:00:00Z"])
    assert [one["partstat"] for one in change["replies"]] == ["ACCEPTED"]
    words = run("explain", before, "--edit", after, "--now", NOW, env={"GATEWAY_STORE__URL": "sqlite:///none.db"})
    assert "  Title: Old → New" in words.stdout
    assert "  Moved: Mon 2026-03-02 09:00–10:00 UTC → Mon 2026-03-02 10:00–11:00 UTC" in words.stdout
    assert "  Removed: Thu 2026-03-05 09:00–10:00 UTC" in words.stdout
    assert "  Verdict: accepted (as before)" in words.stdout


def test_an_edit_that_takes_link_and_dates_away_says_so(tmp_path: Path) -> None:
    over = ("DTSTART:20260201T140000Z", "DURATION:PT1H", "SUMMARY:Lunch")
    before, after = calendar(tmp_path, "1.ics", *over), calendar(tmp_path, "2.ics", *over, sequence=1)
    env = {"GATEWAY_STORE__URL": f"sqlite:///{tmp_path}/none.db"}
    done = run("explain", before, "--edit", after, "--now", NOW, env=env)
    assert "  Link: no link (as before)\n  Next: no date ahead (as before)\n" in done.stdout
    assert "None" not in done.stdout


def test_one_date_that_is_taken_out_moves_no_other(tmp_path: Path) -> None:
    series = ("DTSTART:20260302T090000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=3", MEET)
    before = calendar(tmp_path, "1.ics", *series)
    after = calendar(tmp_path, "2.ics", *series, "EXDATE:20260303T090000Z", "RDATE:20260309T090000Z", sequence=1)
    change = told(f"sqlite:///{tmp_path}/none.db", before, "--edit", after)["edit"]["changes"][0]
    assert change["moved"] == []
    assert [one["starts"] for one in change["removed"]] == ["2026-03-03T09:00:00Z"]
    assert [one["starts"] for one in change["added"]] == ["2026-03-09T09:00:00Z"]


HOSTILE = "\x1b[2J\x1b]0;owned\x07 \u202egpj.exe \x9b31m"


def test_no_escape_reaches_the_terminal(tmp_path: Path) -> None:
    lines = ("DTSTART:20260303T140000Z", f"SUMMARY:{HOSTILE}", f"COMMENT:{HOSTILE}", f"DESCRIPTION:{HOSTILE} {MEET}")
    file = calendar(tmp_path, "a.ics", *lines, MEET, uid=HOSTILE)
    edit = calendar(tmp_path, "b.ics", *lines, f"X-A:{HOSTILE}", MEET, uid=HOSTILE, sequence=1)
    odd = tmp_path / "\x1b[31m.eml"
    odd.write_bytes(b"From: \x1b[2J\r\n\r\n")
    for words in ((file, "--edit", edit), (str(odd),)):
        done = run("explain", *words, env={"GATEWAY_STORE__URL": f"sqlite:///{tmp_path}/none.db"})
        assert done.stdout
        unprintable = {char for char in done.stdout + done.stderr if not char.isprintable() and char != "\n"}
        assert not unprintable, (words, unprintable)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("nowhere.eml",), 1, "nowhere.eml cannot be read: No such file or directory."),
        (("m0123", "--edit", NEW), 2, "--edit goes with one file."),
        ((NEW, MOVED, "--edit", NEW), 2, "--edit goes with one file."),
        ((NEW, "--pal", "nobody"), 2, "'nobody' is not an e-mail address."),
        ((NEW, "--now", "yesterday"), 2, "is not an instant"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, words: tuple[str, ...], code: int, says: str) -> None:
    done = run("explain", *words, env={"GATEWAY_STORE__URL": f"sqlite:///{tmp_path}/none.db"})
    assert (done.returncode, says in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_store_of_another_release_is_not_guessed_at(store_url: str) -> None:
    with opened(store_url) as engine, engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    done = run("explain", NEW, env={"GATEWAY_STORE__URL": store_url})
    assert (done.returncode, "pal-gateway db upgrade" in done.stderr) == (1, True), done.stderr


def test_a_mail_that_the_door_refuses(tmp_path: Path) -> None:
    path = tmp_path / "two.eml"
    path.write_bytes(b"From: a@acme.example\r\nFrom: b@acme.example\r\nTo: " + ANNA.encode() + b"\r\n\r\nx\r\n")
    found = told(f"sqlite:///{tmp_path}/none.db", str(path))
    assert found["decisions"] == []
    assert found["refused"].startswith("550 5.6.0 This mail has more than one From header")


@pytest.mark.parametrize("ends", [b"\r\n", b"\n"])
@pytest.mark.parametrize(("domain", "auth_id"), [("acme.example", BOSS), ("evil.example", None)])
def test_online_asks_who_signed_it(tmp_path: Path, ends: bytes, domain: str, auth_id: str | None) -> None:
    raw, _ = compose(ANNA, from_=f"Boss <{BOSS}>")
    path = tmp_path / "mail.eml"
    path.write_bytes(sign(raw, domain).replace(b"\r\n", ends))
    admission = Admission(world(), Require.ALLOWLIST)
    file = asyncio.run(trial.asked(trial.opened(path), admission, utc_now))
    assert file.sender is not None
    assert (file.sender.as_json()["auth_id"], file.sender.claimed) == (auth_id, BOSS)
    strict = asyncio.run(trial.asked(trial.opened(path), Admission(world(), Require.REQUIRE), utc_now))
    assert strict.refusal.startswith("550 5.7.26") is (auth_id is None)
    with trial.looking(None) as connection:
        from gateway.settings import Settings

        pal = Pal("p1", "Anna", ANNA, "f", (BOSS, EVE))
        (one,) = trial.Trial(connection, Settings().desk(), utc_now()).weigh(file, [(pal, False)])
    assert one.decision.allowed_by == (BOSS if auth_id else None)
    assert any(line.startswith("  dkim: ") for line in one.as_lines())


def test_the_story_of_a_decision_goes_on_to_its_joins(store_url: str, tmp_path: Path) -> None:
    add_pal(store_url)
    path = tmp_path / "a.eml"
    path.write_bytes(invitation(ANNA, utc_now())[1])
    assert run("replay", "--store", store_url, str(path)).returncode == 0
    with opened(store_url) as engine, engine.begin() as connection:
        (join,) = find_joins(connection)
        note(connection, join.id, "system.replica_joined", b"{}", utc_now())
        (invite,) = store.find_invites(connection, pal_id=None, verdict=None, confirmations=False, limit=1)
    environment = {"GATEWAY_STORE__URL": store_url}
    done = run("explain", invite.id, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(f"Join {join.id}: planned, "))
    assert lines[at + 1].endswith(" UTC  planned")
    assert lines[at + 2].endswith("the platform said: system.replica_joined")
    (row,) = [json.loads(line) for line in run("explain", invite.id, "--json", env=environment).stdout.splitlines()]
    (one,) = row["joins"]
    assert (one["join_id"], one["state"], one["attempts"]) == (join.id, "planned", 0)
    assert [entry["kind"] for entry in one["history"]] == ["planned"]
    assert [heard["event_type"] for heard in one["callbacks"]] == ["system.replica_joined"]


def test_the_story_has_title_mail_reply_lateness_moves_and_the_other_mails(store_url: str) -> None:
    add_pal(store_url)
    for file, now in ((NEW, NOW), (MOVED, NOW.replace("08:00", "08:05"))):
        assert run("replay", "--now", now, "--store", store_url, file).returncode == 0
    with opened(store_url) as engine, engine.begin() as connection:
        (join,) = find_joins(connection)
        named = message_from_bytes(Path(NEW).read_bytes())["Message-ID"]
        first = connection.execute(select(store.mails.c.id).where(store.mails.c.message_id == named)).scalar_one()
        rows = [
            journal.happened(join, Happening.STARTED, join.at, attempt=1, late=0.42),
            journal.happened(join, Happening.CANCELLED, join.ends),
            journal.happened(join, Happening.TRIED, join.ends, attempt=2, reason="timeout"),
        ]
        journal.write(connection, rows)
        found = store.find_invites(connection, pal_id=None, verdict=None, confirmations=False, limit=2)
    (new,) = [one for one in found if one.mail_id == first]
    (moved,) = [one for one in found if one.mail_id != first]
    environment = {"GATEWAY_STORE__URL": store_url}
    before = all_rows(store_url)
    told = run("explain", new.id, env=environment).stdout
    for line in (
        "\nTitle: Roadmap review, spring\n",
        "\nMail: came 2026-03-01 08:00:00 UTC, Message-ID <",
        "\n  Content-Type: ",
        "\n  METHOD:REPLY\n",
        "  moved from 2026-03-03 14:00–14:30 UTC to 2026-03-04 15:00–15:30 UTC\n",
        "  started, try 1, 0.4 s late\n",
        "  tried: timeout\n",
        ", 1 try\n",
        f"\nOther mails about this event:\n  2026-03-01 08:05:00 UTC  {moved.id}: accepted, from {ALEX}\n",
    ):
        assert line in told, (line, told)
    row = json.loads(run("explain", new.id, "--json", env=environment).stdout)
    (joined,), (reply,), (other,) = row["joins"], row["replies"], row["other_invites"]
    assert (row["title"], row["mail"]["received_at"]) == ("Roadmap review, spring", "2026-03-01T08:00:00Z")
    sent = message_from_bytes(reply["raw"].encode())
    assert any(b"METHOD:REPLY" in bytes(part.get_payload(decode=True) or b"") for part in sent.walk())
    assert (joined["attempts"], joined["late"]) == (1, 0.42)
    assert [(one["kind"], one["attempt"]) for one in joined["history"]] == [
        ("planned", None), ("moved", None), ("started", 1), ("cancelled", None), ("tried", None),
    ]  # fmt: skip
    assert (other["id"], other["verdict"]) == (moved.id, "accepted")
    page = (
        (SAMPLES.parent.parent / "docs" / "reference" / "explain.md")
        .read_text("utf-8")
        .partition("`explain ID --json`")[2]
    )
    above = {"field", "chosen", "joinable", "platform", "url"}  # of a link
    parts = (row, row["mail"], joined, joined["history"][0], reply, other)
    assert {name for part in parts for name in part if f"`{name}`" not in page} <= above
    assert all_rows(store_url) == before


def test_of_a_long_series_the_next_joins_are_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    file = calendar(tmp_path, "a.ics", "DTSTART:20260302T090000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=30", MEET)
    assert run("replay", "--now", NOW, "--store", url, "--pal", ANNA, file).returncode == 0
    with opened(url) as engine, engine.connect() as connection:
        (invite,) = store.find_invites(connection, pal_id=None, verdict=None, confirmations=False, limit=1)
    done = run("explain", invite.id, env={"GATEWAY_STORE__URL": url})
    assert len([line for line in done.stdout.splitlines() if line.startswith("Join ")]) == 10
    assert done.stdout.endswith("and 20 more that are planned\n")


def test_the_page_names_every_field(tmp_path: Path) -> None:
    page = (SAMPLES.parent.parent / "docs" / "reference" / "explain.md").read_text("utf-8")
    found = told(f"sqlite:///{tmp_path}/none.db", NEW, "--edit", MOVED)
    (one,), (change,) = found["decisions"], found["edit"]["changes"]
    parts = (found, found["edit"], one, one["occurrences"][0], one["replies"][0], one["link_candidates"][0], change)
    assert {name for part in parts for name in part if f"`{name}`" not in page} == set()
