"""The commands as a person or a program runs them: words in, lines and exit codes out."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from gateway import store
from gateway.app import open_store
from scheduler.clock import utc_now
from tests.commands.words import run

SAMPLES = Path(__file__).parent.parent / "samples"
NOW = "2026-03-01T08:00:00Z"


def replay(*words: str) -> list[dict[str, object]]:
    done = run("replay", "--json", "--now", NOW, *words)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_replay_says_all_that_is_documented() -> None:
    (one,) = replay(str(SAMPLES / "google/01-new.eml"))
    assert one["file"] == str(SAMPLES / "google/01-new.eml")
    assert one["pal"] == "anna@invite.example.com"
    assert one["uid"] == "4f1q8c2jv7m0t5r9k3h6d1b8ns@google.com"
    assert (one["verdict"], one["reason"], one["platform"]) == ("accepted", None, "google_meet")
    reply = one["reply"]
    assert isinstance(reply, dict)
    assert (reply["to"], reply["partstat"], reply["recurrence_id"]) == ("alex@acme.example", "ACCEPTED", None)
    assert "METHOD:REPLY" in str(reply["raw"]) or "base64" in str(reply["raw"])
    assert one["joins"] == [
        {
            "recurrence_id": "2026-03-03T14:00:00Z",
            "starts": "2026-03-03T14:00:00Z",
            "ends": "2026-03-03T14:30:00Z",
            "at": "2026-03-03T13:59:00Z",
            "url": "https://meet.google.com/hpt-wvqk-bnm",
            "state": "planned",
        }
    ]


def test_a_folder_is_played_sorted_by_name_and_a_story_goes_on_in_a_kept_store(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/story.db"
    folder = replay(str(SAMPLES / "google"))
    assert [Path(str(one["file"])) for one in folder] == sorted((SAMPLES / "google").glob("*.eml"))
    replay("--store", store, str(SAMPLES / "google/01-new.eml"))
    (moved,) = replay("--store", store, str(SAMPLES / "google/03-rescheduled.eml"))
    joins = moved["joins"]
    assert isinstance(joins, list)
    assert [join["starts"] for join in joins] == ["2026-03-04T15:00:00Z"]


def test_a_bare_file_counts_as_sent_by_its_organizer_to_its_attendees(tmp_path: Path) -> None:
    path = tmp_path / "plain.ics"
    path.write_text(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nBEGIN:VEVENT\nUID:1\nDTSTAMP:20260228T080000Z\n"
        "DTSTART:20260303T140000Z\nORGANIZER:mailto:alex@acme.example\nATTENDEE:mailto:ben@invite.example.com\n"
        "LOCATION:https://meet.google.com/abc-defg-hij\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    anna, ben = "anna@invite.example.com", "ben@invite.example.com"
    (only,) = replay("--pal", anna, str(path))
    assert (only["pal"], only["verdict"]) == (anna, "accepted")
    (named,) = replay("--pal", anna, "--pal", ben, str(path))
    assert (named["pal"], named["verdict"]) == (ben, "accepted")
    (refused,) = replay("--pal", ben, "--allow", "boss@acme.example", str(path))
    assert (refused["verdict"], refused["reason"]) == ("declined", "not-on-allowlist")


def test_occurrences_are_the_schedulers(tmp_path: Path) -> None:
    path = tmp_path / "series.ics"
    path.write_text(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nBEGIN:VEVENT\nUID:1\nDTSTAMP:20260228T080000Z\nSTATUS:TENTATIVE\n"
        "DTSTART;TZID=Europe/Berlin:20260327T140000\nDURATION:PT30M\nRRULE:FREQ=DAILY;COUNT=4\n"
        "EXDATE;TZID=Europe/Berlin:20260328T140000\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    done = run("occurrences", "--json", str(path))
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["starts"] for row in rows] == ["2026-03-27T13:00:00Z", "2026-03-29T12:00:00Z", "2026-03-30T12:00:00Z"]
    assert rows[0] == {
        "starts": "2026-03-27T13:00:00Z",
        "ends": "2026-03-27T13:30:00Z",
        "recurrence_id": "2026-03-27T13:00:00Z",
        "url": None,
        "status": "tentative",
    }
    late = run("occurrences", "--from", "2026-03-30T00:00:00Z", "--to", "2026-04-01T00:00:00Z", str(path))
    assert len(late.stdout.splitlines()) == 1


def test_pals_and_joins_without_http(tmp_path: Path) -> None:
    store = {"GATEWAY_STORE__URL": f"sqlite:///{tmp_path}/g.db"}
    added = run("pals", "add", "Ada@invite.example.com", "--allow", r".*@acme\.com", "--face", "r1", env=store)
    assert (added.returncode, added.stdout) == (0, "Ada can now be invited at ada@invite.example.com.\n")
    again = run("pals", "add", "ada@invite.example.com", env=store)
    assert (again.returncode, again.stderr) == (1, "pal-gateway: ada@invite.example.com is taken; choose another.\n")
    (row,) = [json.loads(line) for line in run("pals", "list", "--json", env=store).stdout.splitlines()]
    assert (row["conferencing_email"], row["allowlist"], row["default_face_id"]) == (
        "ada@invite.example.com",
        [r".*@acme\.com"],
        "r1",
    )
    url = store["GATEWAY_STORE__URL"]
    sample = str(SAMPLES / "google/06-series.eml")
    replay("--store", url, "--pal", "anna@invite.example.com", sample)
    planned = run("joins", "list", "--pal", "anna@invite.example.com", "--state", "planned", "--json", env=store)
    assert len(planned.stdout.splitlines()) == 9
    shown = run("pals", "show", "anna@invite.example.com", env=store)
    assert len(shown.stdout.splitlines()) == 1 + 9
    removed = run("pals", "remove", "anna@invite.example.com", env=store)
    assert removed.stdout == "anna@invite.example.com cannot be invited any more; 9 joins were cancelled.\n"
    assert run("pals", "show", "anna@invite.example.com", env=store).returncode == 1
    assert len(run("joins", "list", "--state", "cancelled", "--json", env=store).stdout.splitlines()) == 9


def test_a_pal_that_is_removed_declines_what_it_accepted(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/g.db"
    anna = "anna@invite.example.com"
    start = utc_now() + timedelta(days=2)
    for name, method in (("mail.eml", True), ("file.ics", False)):
        calendar = (
            f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\n{'METHOD:REQUEST' if method else 'X-A:B'}\nBEGIN:VEVENT\n"
            f"UID:{name}\nDTSTAMP:20260228T080000Z\nDTSTART:{start:%Y%m%dT%H%M%SZ}\nDURATION:PT1H\n"
            f"ORGANIZER:mailto:alex@acme.example\nATTENDEE:mailto:{anna}\n"
            "LOCATION:https://meet.google.com/abc-defg-hij\nEND:VEVENT\nEND:VCALENDAR\n"
        )
        head = f"From: alex@acme.example\nTo: {anna}\nContent-Type: text/calendar; method=REQUEST\n\n"
        (tmp_path / name).write_text((head if method else "") + calendar)
        (one,) = replay("--store", url, "--pal", anna, str(tmp_path / name))
        assert one["verdict"] == "accepted"
    removed = run("pals", "remove", anna, env={"GATEWAY_STORE__URL": url})
    assert (removed.returncode, removed.stderr) == (0, "")
    assert removed.stdout == f"{anna} cannot be invited any more; 2 joins were cancelled.\n"
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT uid, partstat, recipient, state FROM outbox ORDER BY uid, partstat"))
        assert [tuple(row) for row in rows] == [
            (uid, partstat, "alex@acme.example", state)
            for uid in ("file.ics", "mail.eml")
            for partstat, state in (("ACCEPTED", "superseded"), ("DECLINED", "queued"))
        ]
    engine.dispose()


def test_a_pal_is_added_in_the_domain_of_its_account(tmp_path: Path) -> None:
    env = {"GATEWAY_STORE__URL": f"sqlite:///{tmp_path}/g.db", "GATEWAY_DOMAINS__ACME": "meet.acme.com"}
    added = run("pals", "add", "ada@Meet.Acme.com", "--account", "acme", env=env)
    assert (added.returncode, added.stdout) == (0, "Ada can now be invited at ada@meet.acme.com.\n")
    wrong = run("pals", "add", "bea@invite.example.com", "--account", "acme", env=env)
    assert wrong.returncode == 2
    assert "is not in meet.acme.com, the domain of account acme (setting domains)." in wrong.stderr
    assert run("pals", "add", "bea@meet.acme.com", env=env).returncode == 2
    assert run("pals", "add", "ada@invite.example.com", "--account", "other", env=env).returncode == 0


def test_keys(tmp_path: Path) -> None:
    store = {"GATEWAY_STORE__URL": f"sqlite:///{tmp_path}/g.db"}
    words = ["--account", "acme", "--name", "laptop", "--allow-ip", "10.0.0.0/8", "--expires", "2999-01-01T00:00:00Z"]
    created = run("keys", "create", *words, env=store)
    key = created.stdout.strip()
    assert (created.returncode, key[:3], len(key) > 40) == (0, "pg_", True)
    (row,) = [json.loads(line) for line in run("keys", "list", "--json", env=store).stdout.splitlines()]
    assert row["id"] in created.stderr
    assert (row["account"], row["name"], row["networks"]) == ("acme", "laptop", ["10.0.0.0/8"])
    assert (row["expires_at"], row["revoked_at"]) == ("2999-01-01T00:00:00Z", None)
    listed = run("keys", "list", env=store).stdout
    assert "acme (laptop)  from 10.0.0.0/8  until 2999-01-01T00:00:00Z" in listed
    assert key.encode() not in b"".join(path.read_bytes() for path in tmp_path.glob("g.db*"))
    assert run("keys", "revoke", row["id"], env=store).stdout == f"{row['id']} opens nothing any more.\n"
    assert run("keys", "revoke", row["id"], env=store).returncode == 1
    assert "revoked" in run("keys", "list", env=store).stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["replay"], 2, "Missing argument"),
        (["replay", "--now", "yesterday", "x.eml"], 2, "2026-03-02T09:00:00Z"),
        (["replay", "nowhere.eml"], 1, "nowhere.eml cannot be read"),
        (["replay", "--pal", "b", "x.eml"], 2, "not an e-mail address"),
        (["replay", "--pal", "bot7@invite.example.com", "x.eml"], 2, "reserved"),
        (["replay", "--allow", "(?=x).*", "x.eml"], 2, "allowlist entry"),
        (["replay", "--store", "nonsense", "x.eml"], 2, "not a store"),
        (["replay", "--zone", "Mars/Base", "x.eml"], 2, "not a time zone"),
        (["replay", "--store", "mysql://x", "x.eml"], 2, "not a store"),
        (["replay", "--store", f"sqlite:///{Path(__file__)}", "x.eml"], 2, "cannot be used"),
        (["replay", "--now", "9999-12-31T23:59:59Z", "x.eml"], 2, "1970 to 2999"),
        (["occurrences", "--to", "9999-12-31T23:59:59Z", "x.ics"], 2, "1970 to 2999"),
        (["pals", "add", "ada@invite.example.com", "--name", "Evil\r\nBcc: x@y.example"], 2, "printable"),
        (["pals", "add", "postmaster@invite.example.com"], 2, "reserved"),
        (["occurrences", "nowhere.ics"], 1, "nowhere.ics cannot be read"),
        (["pals", "add", "ada@other.example"], 2, "the domain of this gateway"),
        (["pals", "add", "ada@invite.example.com", "--account", "a\nb"], 2, "printable"),
        (["keys", "create"], 2, "--account"),
        (["keys", "create", "--account", "a\nb"], 2, "printable"),
        (["keys", "create", "--account", "acme", "--allow-ip", "10.0.0.1/8"], 2, "not a network: write 10.0.0.0/8."),
        (["keys", "create", "--account", "acme", "--expires", "2020-01-01T00:00:00Z"], 2, "expired already"),
        (["keys", "revoke", "k1"], 1, "There is no key k1"),
        (["joins", "list", "--state", "lost"], 2, "not a state of a join"),
        (["outbox", "list", "--state", "gone"], 2, "'gone' is not a state of an answer; they are queued, sent, "),
        (["outbox", "retry"], 2, "Name an answer"),
        (["outbox", "retry", "r1", "--failed"], 2, "Name an answer"),
        (["outbox", "retry", "r1"], 1, "There is no answer r1; see pal-gateway outbox list."),
        (["serve", "--config", "nowhere.toml"], 2, "cannot be read"),
        (["serve", "--role", "smpt"], 2, "The roles of a process are smtp, http and scheduler, not 'smpt'."),
        (["serve", "--role", "smtp,,http"], 2, "smtp, http and scheduler"),
        (["serve", "--role", ""], 2, "smtp, http and scheduler"),
        (["nonsense"], 2, "No such command"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else None,
)
def test_wrong_words_get_one_sentence(tmp_path: Path, words: list[str], code: int, says: str) -> None:
    done = run(*words, cwd=tmp_path)
    assert done.returncode == code
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[smtp]\nprot = 25", "smtp.prot is not a setting; the nearest is smtp.port."),
        ("[smtp]\nport = 99999", "smtp.port"),
        ("[platform]\njoinable = ['zom']", "'zom' is not a platform; the nearest is zoom."),
        ("nonsense", "is not TOML"),
    ],
)
def test_wrong_settings_get_one_sentence(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(text)
    done = run("pals", "list", "--config", str(path), cwd=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert says in done.stderr


def test_a_misspelt_variable_is_an_error(tmp_path: Path) -> None:
    done = run("pals", "list", cwd=tmp_path, env={"GATEWAY_SMTP__PROT": "25"})
    assert done.returncode == 2
    assert "GATEWAY_SMTP__PORT" in done.stderr


COMMANDS = [
    "",
    "serve",
    "demo",
    "replay",
    "occurrences",
    "pals add",
    "pals list",
    "pals show",
    "pals remove",
    "joins list",
    "joins cancel",
    "joins retry",
    "mails list",
    "mails show",
    "quarantine list",
    "quarantine show",
    "quarantine replay",
    "quarantine drop",
    "db upgrade",
    "db check",
    "db export",
    "db import",
    "keys create",
    "keys list",
    "keys revoke",
    "outbox list",
    "outbox retry",
]


def test_answers_that_did_not_arrive_are_listed_told_and_sent_again(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/story.db"
    env = {"GATEWAY_STORE__URL": url}
    for sample in ("google/01-new.eml", "google/06-series.eml"):
        replay("--store", url, str(SAMPLES / sample))
    engine = open_store(url)
    with engine.begin() as connection:
        first, second = connection.execute(text("SELECT id FROM outbox ORDER BY created_at, id")).scalars()
        came_back = (
            "UPDATE outbox SET state = 'undeliverable', error = :error, settled_at = '2026-03-02 09:00:00',"
            " wake_at = NULL, attempt = 1 WHERE id = :id"
        )
        words = "not delivered (5.1.1): 550 5.1.1 \x1b[2J no such user"
        connection.execute(text(came_back), {"error": words, "id": first})
        invite = connection.execute(text("SELECT invite_id FROM outbox WHERE id = :id"), {"id": first}).scalar_one()
    shown = words.replace("\x1b", "\N{REPLACEMENT CHARACTER}")

    def states() -> dict[str, str]:
        listed = run("outbox", "list", "--json", env=env).stdout.splitlines()
        return {one["reply_id"]: one["state"] for one in map(json.loads, listed)}

    assert states() == {first: "undeliverable", second: "queued"}
    (line, why) = run("outbox", "list", "--state", "undeliverable", "--state", "failed", env=env).stdout.splitlines()
    assert line.startswith(
        f"{first}  2026-03-02 09:00 UTC  undeliverable  anna@invite.example.com ACCEPTED → alex@acme"
    )
    assert why == "  " + shown
    told = run("explain", invite, env=env).stdout.splitlines()
    at = next(number for number, line in enumerate(told) if line.startswith(f"Reply {first}: "))
    assert told[at].endswith("ACCEPTED to alex@acme.example: undeliverable since 2026-03-02 09:00 UTC")
    assert told[at + 1] == "  " + shown
    (reply,) = json.loads(run("explain", "--json", invite, env=env).stdout)["replies"]
    assert (reply["reply_id"], reply["error"], reply["settled_at"]) == (first, words, "2026-03-02T09:00:00Z")

    waits = run("outbox", "retry", second, env=env)
    assert waits.returncode == 1
    assert waits.stderr == f"pal-gateway: {second} is queued; only what is failed or undeliverable is sent again.\n"
    done = run("outbox", "retry", first, env=env)
    assert (done.returncode, done.stdout) == (0, "1 answer is sent again by the gateway that serves.\n")
    assert states() == {first: "queued", second: "queued"}
    none = run("outbox", "retry", "--failed", env=env)
    assert (none.returncode, none.stdout) == (0, "0 answers are sent again by the gateway that serves.\n")
    with engine.begin() as connection:
        connection.execute(text("UPDATE outbox SET state = 'failed', wake_at = NULL"))
    engine.dispose()
    assert run("outbox", "retry", "--failed", env=env).stdout.startswith("2 answers are sent again")
    assert set(states().values()) == {"queued"}


def test_mails_to_the_operator_are_listed_and_shown(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/g.db"
    engine = open_store(url)
    roles = {"m1": "postmaster@a.example", "m2": "anna@a.example", "m3": "abuse+x@a.example"}
    with engine.begin() as connection:
        for number, (mail_id, recipient) in enumerate(roles.items()):
            raw = b"Subject: \x1b[31mred\r\nX-Note: caf\xc3\xa9\r\n\r\nthe body"
            received = datetime(2026, 3, 1 + number, 8, tzinfo=UTC)
            store.save_mail(connection, store.MailRow(mail_id, received, "", (recipient,), "<1@x>", raw))
    engine.dispose()
    env = {"GATEWAY_STORE__URL": url}

    def listed(*words: str) -> list[str]:
        return [json.loads(line)["id"] for line in run("mails", "list", "--json", *words, env=env).stdout.splitlines()]

    assert listed() == ["m3", "m2", "m1"]
    assert listed("--limit", "1") == ["m3"]
    assert listed("--role", "postmaster") == ["m1"]
    assert listed("--role", "abuse") == ["m3"]
    assert run("mails", "list", "--role", "anna", env=env).returncode == 2
    assert run("mails", "list", "--role", "postmaster", env=env).stdout == (
        "m1  2026-03-01T08:00:00Z  <> → postmaster@a.example  44 bytes\n"
    )
    shown = run("mails", "show", "m1", env=env).stdout.splitlines()
    assert shown[1:] == ["  Subject: \N{REPLACEMENT CHARACTER}[31mred", "  X-Note: café"]
    assert (
        run("mails", "show", "m9", env=env).stderr == "pal-gateway: There is no mail m9; see pal-gateway mails list.\n"
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str) -> None:
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert "Example: pal-gateway " + command in " ".join(done.stdout.split())


def test_the_command_itself_has_an_example_and_the_examples_run(tmp_path: Path) -> None:
    assert "Example: pal-gateway demo" in " ".join(run("--help").stdout.split())
    listed = run("occurrences", "--from", "2026-03-01T00:00:00Z", "samples/calendars/weekly.ics", cwd=SAMPLES.parent)
    assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 3)


def test_help_is_quick() -> None:
    """Median of five new interpreters, as CPU seconds of the child, so that a busy machine does not matter."""
    command, spent = [sys.executable, "-m", "gateway", "replay", "--help"], []
    for _ in range(5):
        before = os.times()
        subprocess.run(command, cwd=SAMPLES.parent, capture_output=True, check=True)
        after = os.times()
        spent.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert statistics.median(spent) < 0.5


def test_the_demo_walks_the_main_path_and_ends(tmp_path: Path) -> None:
    done = run("demo", cwd=tmp_path, env={"GATEWAY_SMTP__PORT": "0", "GATEWAY_HTTP__PORT": "0"})
    assert done.returncode == 0, done.stderr
    assert "Subject: Accepted: Stand-up" in done.stdout
    assert "Anna is in the call" in done.stdout


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"STORE__URL": "sqlite:////dev/null/gateway.db"}, "/dev/null cannot be made"),
        ({"STORE__URL": "postgresql://u:hidden@127.0.0.1:1/x"}, "The store cannot be used"),
        ({"SMTP__TLS_CERTIFICATE": "/no", "SMTP__TLS_KEY": "/no"}, "/no cannot be read"),
        (
            {"SMTP__HOST": "192.0.2.1"},
            "192.0.2.1:0 cannot be opened (Cannot assign requested address); look at smtp.host",
        ),
        (
            {"PLATFORM__BASE_URL": "https://platform.example"},
            "The demo stays on this machine, and platform.base_url is set",
        ),
        ({"RELAY__HOST": "relay.example"}, "The demo stays on this machine, and relay.host is set"),
    ],
)
def test_a_demo_that_cannot_be_is_one_sentence(tmp_path: Path, variables: dict[str, str], sentence: str) -> None:
    own = {f"GATEWAY_{name}": value for name, value in {"SMTP__PORT": "0", "HTTP__PORT": "0", **variables}.items()}
    done = run("demo", cwd=tmp_path, env=own)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"pal-gateway: {sentence}")
    assert done.stderr.count("\n") == 1
    assert "hidden" not in done.stderr


def test_the_demo_is_shown_whoever_else_is_believed(tmp_path: Path) -> None:
    own = {"SMTP__PORT": "0", "HTTP__PORT": "0", "SENDERS__SENDER_AUTH": "require", "SMTP__PROXY_FROM": '["127.0.0.1"]'}
    own["HTTP__PUBLIC_URL"] = "https://pals.example.invalid"
    done = run("demo", cwd=tmp_path, env={f"GATEWAY_{name}": value for name, value in own.items()})
    assert done.returncode == 0, done.stderr


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("serve", cwd=tmp_path, env={"GATEWAY_SMTP__PORT": port, "GATEWAY_HTTP__PORT": "0"})
    assert done.returncode == 2
    assert f"127.0.0.1:{port} cannot be opened" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("GATEWAY_PLATFORM__JOINABLE", "[zoom", "GATEWAY_PLATFORM__JOINABLE is written as a,b or as JSON"),
        (
            "GATEWAY_CALLBACKS__PRIVATE_NETWORKS",
            "10.0.0.0/33",
            "callbacks.private_networks.0: value is not a valid IPv4",
        ),
        ("GATEWAY_ROLES", "smtp,web", "The roles of a process are smtp, http and scheduler, not 'smtp,web'"),
        ("GATEWAY_SMTP", "foo", "GATEWAY_SMTP is written as JSON"),
        ("GATEWAY_DOMAINS", "foo", "GATEWAY_DOMAINS is written as JSON"),
        ("GATEWAY_PLATFORM__BASE_URL", "foo", "platform.base_url: write an http or https address"),
        ("GATEWAY_PLATFORM__BASE_URL", "ftp://x", "platform.base_url: write an http or https address"),
        ("GATEWAY_HTTP__PUBLIC_URL", "http://", "http.public_url: write an http or https address"),
        ("GATEWAY_TARGETS__SCENARIO_MEETING__BASE_URL", "zz", "base_url: write an http or https address"),
        ("GATEWAY_PLATFORM__MIRROR_PALS", "true", "there is nothing to mirror PALs at"),
    ],
)
def test_a_setting_that_cannot_be_read_is_one_sentence(variable: str, value: str, says: str, tmp_path: Path) -> None:
    done = run("keys", "list", env={"GATEWAY_STORE__URL": f"sqlite:///{tmp_path}/g.db", variable: value})
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
