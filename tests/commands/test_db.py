"""The store as a whole: a move from SQLite to PostgreSQL and back, and the checks; with an installation that worked."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, insert, null, select, text

import scheduler.store
from gateway import store, store_webhooks
from gateway.app import open_store
from gateway.archive import Unusable, export_to, import_from
from gateway.decide import Desk
from gateway.demo import invitation
from gateway.intake import Incoming, Intake
from gateway.pals import pal_id
from gateway.store_calls import callbacks, conversations
from scheduler.clock import utc_now
from scheduler.database import metadata, reading
from scheduler.joins import Join, JoinState
from tests.api.conftest import serving
from tests.api.test_planned_joins import until
from tests.commands.words import run
from tests.conftest import not_here
from tests.postgres import Postgres
from tests.wire.test_main_path import ANNA, send, settings_for

ODD = "a\u2028b\x01\x7f\n\t\"\\ ä🐍 \ufffd 'x' 100% :name"

# What a store has from its first moment: what its migrations leave.
NEW = {"secrets": [(store.OLDEST_NAME, store.OLDEST.encode())]}


@dataclass(frozen=True)
class Moved:
    """What the installation knew before its move."""

    key: str
    mail: bytes  # of a meeting that is known
    due: bytes  # of a meeting that runs, and that nobody was sent to yet
    callback: str  # the path of the call that runs
    joins: tuple[Join, ...]


def story(folder: Path, url: str) -> Moved:
    """An installation that did all there is to do, and was stopped."""
    with serving(settings_for(folder, store={"url": url}, senders={"sender_auth": "off"})) as served:
        key = served.key("default")
        api = served.client(key)
        (_, mail), (_, over) = invitation(ANNA, utc_now()), invitation(ANNA, utc_now() - timedelta(days=3))
        for raw in (mail, over, b"From: a@acme.example\r\nSubject: nothing\r\n\r\nno calendar\r\n"):
            assert send(served.gateway, raw, ANNA) == {}
        ordered = {"pal_id": pal_id(ANNA), "meeting_url": "https://meet.google.com/abc-defg-hij"}
        ordered["callback_url"] = "http://127.0.0.1:9/told"
        assert api.post("/v2/conversations", json=ordered, headers={"Idempotency-Key": ODD[:1]}).status_code == 200
        (call,) = until(lambda: [one for one in of(served.gateway.engine, "joined") if one.name == "Stand-up"])
        path = httpx.URL(served.gateway.callbacks.url(call.order_id)).path
        until(lambda: rows(served.gateway.engine, callbacks))
    with opened(url) as engine:
        every_kind(engine, call)
        _, due = invitation(ANNA, utc_now())
        Intake(engine, Desk()).take(Incoming("mdue", due, "", (ANNA,)), utc_now())
        with engine.connect() as connection:
            return Moved(key, mail, due, path, tuple(scheduler.store.find_joins(connection)))


def every_kind(engine: Engine, call: Join) -> None:
    """Rows of every state and value, as no short story has them."""
    now = utc_now()
    with engine.begin() as connection:
        for number, state in enumerate(JoinState):
            one = replace(
                call, id=f"j-{number}", state=state, wake_at=None, name=ODD, url=ODD, request={"\ud800": [1.5e300]}
            )
            scheduler.store.add_order(connection, replace(one, conversation_id=None, inviter=None, owner=ODD), now)
        for number, answer in enumerate((null(), None, {"a": None, "\x00": [0.1, 2**70, True]})):
            values = {"id": f"c{number}", "account": "x", "digest": "", "callback_url": ODD, "created_at": now}
            connection.execute(insert(conversations).values(**values, answer=answer))
        for sent in ("queued", "sent", "superseded", "failed"):
            row = {**dict(connection.execute(select(store.outbox)).mappings().first() or {})}
            row |= {"id": f"r-{sent}", "key": f"{sent}{ODD}", "state": sent, "wake_at": None, "raw": bytes(range(256))}
            connection.execute(insert(store.outbox).values(row))
        connection.execute(insert(store.secrets).values(name="empty", value=b""))
        webhook = store_webhooks.fresh_webhook("x", "https://x.example/", ("join.failed",), now)
        store_webhooks.add(connection, store_webhooks.with_new_secret(webhook, now))
        store_webhooks.test(connection, webhook, now)


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """A migrated store."""
    engine = open_store(url)
    try:
        yield engine
    finally:
        engine.dispose()


def rows(engine: Engine, table: Any) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(select(table)))


def of(engine: Engine, state: str) -> list[Join]:
    with engine.connect() as connection:
        return scheduler.store.find_joins(connection, states=[state])


def command(url: str, *words: str, **more: str) -> Any:
    return run("db", *words, env={"GATEWAY_STORE__URL": url, **more})


def exported(url: str, path: Path) -> list[bytes]:
    """The lines of an export; the instant of it is taken out."""
    done = command(url, "export", str(path))
    assert done.returncode == 0, done.stderr
    assert "gateway is stopped first" in done.stderr
    assert path.stat().st_mode & 0o777 == 0o600
    return timeless(path)


def again(url: str, path: Path) -> list[bytes]:
    """The same within this process."""
    snapshots = reading(url)
    with path.open("wb") as out:
        export_to(snapshots, out, utc_now(), lambda *_: None)
    snapshots.dispose()
    return timeless(path)


def timeless(path: Path) -> list[bytes]:
    first, *rest = path.read_bytes().splitlines()
    header = json.loads(first)
    assert datetime.fromisoformat(header.pop("at")) <= utc_now()
    return [json.dumps(header).encode(), *rest]


@pytest.fixture
def server(postgres: Postgres | str) -> Postgres:
    return postgres if not isinstance(postgres, str) else not_here(postgres)


def test_an_installation_moves_to_postgresql_and_back_and_goes_on(tmp_path: Path, server: Postgres) -> None:
    here, there, back = f"sqlite:///{tmp_path}/a.db", server.store(), f"sqlite:///{tmp_path}/b.db"
    before = story(tmp_path, here)
    first = exported(here, tmp_path / "1.jsonl")
    assert {one.name for one in metadata.sorted_tables if json.loads(first[0])["tables"][one.name] == 0} == set()
    moved = command(there, "import", str(tmp_path / "1.jsonl"))
    assert (moved.returncode, f"{len(first) - 2} rows were imported" in moved.stderr) == (0, True), moved.stderr
    assert again(there, tmp_path / "2.jsonl") == first
    with opened(back) as engine, (tmp_path / "2.jsonl").open("rb") as lines:
        import_from(engine, lines, lambda *_: None)
    assert again(back, tmp_path / "3.jsonl") == first
    goes_on(tmp_path / "there", there, before)


def goes_on(folder: Path, url: str, before: Moved) -> None:
    """The moved installation serves: what was begun is carried on, what was signed counts, what is known is known."""
    with opened(url) as engine, engine.connect() as connection:
        assert tuple(scheduler.store.find_joins(connection)) == before.joins
    (call,) = (one for one in before.joins if one.order_id in before.callback)
    (due,) = (one for one in before.joins if one.state == "planned" and one.wake_at)
    with serving(settings_for(folder, store={"url": url}, senders={"sender_auth": "off"})) as served:
        api = served.client(before.key)
        until(lambda: [one for one in of(served.gateway.engine, "joined") if one.id == due.id])
        over: dict[str, Any] = {
            "event_type": "system.shutdown",
            "conversation_id": call.conversation_id,
            "properties": {},
        }
        assert api.post(before.callback, json=over).json() == {"status": "noted"}
        assert [one.id for one in of(served.gateway.engine, "ended") if one.id == call.id]
        assert api.post(before.callback[:-1], json=over).status_code == 404
        assert send(served.gateway, before.mail, ANNA) == {}
        newest = api.get("/v2/invites?limit=1").json()["data"][0]
        assert (newest["verdict"], newest["reason"]) == ("ignored", "duplicate")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with a few rows of a story, for reading."""
    url = f"sqlite:///{tmp_path_factory.mktemp('filled')}/a.db"
    done = run("replay", "--store", url, "samples/google", cwd=Path(__file__).parent.parent.parent)
    assert done.returncode == 0
    return url


def tampered(lines: list[bytes], what: str) -> list[bytes]:
    header = json.loads(lines[0])
    if what == "newer":
        header["schema"] = "9999"
    elif what == "unknown column":
        header["columns"]["pals"].append("zzz")
    elif what == "counts":
        header["tables"]["mails"] -= 1
    lines = [json.dumps(header).encode() + b"\n", *lines[1:]]
    return {
        "cut": lines[:-1],
        "half a line": [*lines[:5], lines[5][:20]],
        "a row less": [*lines[:3], *lines[4:]],
        "a row twice": [*lines[:3], lines[2], *lines[3:]],
        "a letter": [*lines[:-2], lines[-2].replace(b"google", b"goggle"), lines[-1]],
        "more": [*lines, lines[1]],
        "no export": [b"{}\n"],
        "nothing": [],
        "no JSON": [b"PK\x03\x04"],
        "a row of no table": [*lines[:2], b'["zzz",{}]\n', *lines[2:]],
    }.get(what, lines)


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("newer", "newer release"),
        ("unknown column", "does not know (pals)"),
        ("counts", "checksum"),
        ("cut", "cut short"),
        ("half a line", "Line 6"),
        ("a row less", "checksum"),
        ("a row twice", "does not fit"),
        ("a letter", "checksum"),
        ("more", "checksum"),
        ("no export", "no export"),
        ("nothing", "no export"),
        ("no JSON", "no export"),
        ("a row of no table", "Line 3"),
    ],
)
def test_what_is_not_whole_leaves_nothing(store_url: str, filled: str, tmp_path: Path, what: str, says: str) -> None:
    again(filled, tmp_path / "x.jsonl")
    lines = (tmp_path / "x.jsonl").read_bytes().splitlines(keepends=True)
    with opened(store_url) as engine:
        with pytest.raises(Unusable, match=says.replace("(", r"\(").replace(")", r"\)")):
            import_from(engine, tampered(lines, what), lambda *_: None)
        assert {table.name: found for table in metadata.sorted_tables if (found := rows(engine, table))} == NEW


def test_only_an_empty_store_is_filled(store_url: str, filled: str, tmp_path: Path) -> None:
    lines = [one + b"\n" for one in exported(filled, tmp_path / "x.jsonl")]
    header = json.dumps({**json.loads(lines[0]), "at": ""}).encode()
    with opened(store_url) as engine:
        assert import_from(engine, [header, *lines[1:]], lambda *_: None) == len(lines) - 2
    twice = command(store_url, "import", str(tmp_path / "x.jsonl"))
    assert (twice.returncode, "is not empty" in twice.stderr, "Nothing was imported" in twice.stderr) == (1, True, True)


def test_what_an_older_export_lacks_gets_its_default(store_url: str, filled: str, tmp_path: Path) -> None:
    from hashlib import sha256

    again(filled, tmp_path / "x.jsonl")
    lines = [json.loads(one) for one in (tmp_path / "x.jsonl").read_bytes().splitlines()]
    header, *kept, last = lines
    header["schema"] = "0000"
    for name in ("inviter", "inviter_domain"):
        header["columns"]["invites"].remove(name)
        for table, row in kept:
            if table == "invites":
                del row[name]
    written = [json.dumps(one, separators=(",", ":")).encode() + b"\n" for one in (header, *kept)]
    summed = json.dumps([header["schema"], header["tables"], header["columns"]], separators=(",", ":")).encode() + b"\n"
    last["sha256"] = sha256(summed + b"".join(written[1:])).hexdigest()
    with opened(store_url) as engine:
        assert import_from(engine, [*written, json.dumps(last).encode()], lambda *_: None) == len(kept)
        assert {one.inviter for one in rows(engine, store.invites)} == {None}


def test_an_export_is_of_one_instant_and_holds_up_nobody(store_url: str, tmp_path: Path) -> None:
    with opened(store_url) as engine, (tmp_path / "x.jsonl").open("wb") as out:
        mail = store.MailRow("m0", utc_now(), "", (ANNA,), "", b"x" * 5000)
        with engine.begin() as connection:
            for number in range(2000):
                store.save_mail(connection, replace(mail, id=f"m{number:05}"))

        def meanwhile(table: str, done: int, total: int) -> None:
            if table == "mails" and done in (1, 1000):
                with engine.begin() as connection:
                    store.save_mail(connection, replace(mail, id=f"m01000-{done}"))

        snapshots = reading(store_url)
        assert export_to(snapshots, out, utc_now(), meanwhile) == 2000
        snapshots.dispose()
        assert len(rows(engine, store.mails)) == 2002


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    size, number = 20_000, 2000  # 40 MB of mails
    url = f"sqlite:///{tmp_path}/a.db"
    mail = store.MailRow("m0", utc_now(), "", (ANNA,), "", b"x" * size)
    with opened(url) as engine:
        for some in range(0, number, 100):
            with engine.begin() as connection:
                for one in range(some, some + 100):
                    store.save_mail(connection, replace(mail, id=f"m{one:05}"))
    snapshots, path = reading(url), tmp_path / "x.jsonl"
    tracemalloc.start()
    with path.open("wb") as out:
        export_to(snapshots, out, utc_now(), lambda *_: None)
    written = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    with opened(f"sqlite:///{tmp_path}/b.db") as engine, path.open("rb") as lines:
        import_from(engine, lines, lambda *_: None)
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    snapshots.dispose()
    assert path.stat().st_size > size * number
    assert written < 15 << 20
    assert read < 30 << 20


def test_upgrade_and_check(store_url: str) -> None:
    before = command(store_url, "check", "--json")
    assert before.returncode == 1
    assert command(store_url, "upgrade").stdout == f"The store was upgraded from nothing to schema {store.HEAD}.\n"
    assert command(store_url, "upgrade").stdout == f"The store has schema {store.HEAD} already.\n"
    good = command(store_url, "check", "--json")
    found = {one["check"]: one for one in map(json.loads, good.stdout.splitlines())}
    assert (good.returncode, found["schema"]["found"]) == (0, store.HEAD), good.stdout
    assert {f"rows of {name}" for name in metadata.tables} <= found.keys()
    with opened(store_url) as engine:
        past = utc_now() - timedelta(hours=1)
        gone = Join("j1", "p-gone", "f", "uid", past, past, past, past, past, "https://x.example", "x")
        with engine.begin() as connection:
            scheduler.store.add_order(connection, replace(gone, wake_at=past), past)
        bad = command(store_url, "check")
        assert bad.returncode == 1
        wrong = [line for line in bad.stdout.splitlines() if line.startswith("WRONG")]
        assert [line.split("  ")[1].split(":")[0] for line in wrong] == [
            "joins ahead of a PAL that is gone",
            "joins ahead without their event",
            "joins waiting",
            "what happened waiting",
        ]
        assert "→ pal-gateway joins cancel ID" in wrong[0]
        assert "1, 1 of them overdue" in wrong[2]
        assert rows(engine, store.secrets) == NEW["secrets"]
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for words in (("check",), ("upgrade",), ("export", "-")):
        newer = command(store_url, *words)
        assert (newer.returncode, "newer release" in newer.stdout + newer.stderr) == (1, True), newer.stderr


def test_a_damaged_file_is_said(filled: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    damaged = bytearray(Path(filled.removeprefix("sqlite:///")).read_bytes())
    middle = len(damaged) // 2 // 4096 * 4096
    damaged[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(damaged)
    done = command(f"sqlite:///{path}", "check")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "WRONG  integrity" in done.stdout or "cannot be used" in done.stderr


def test_what_is_not_there_is_not_made(tmp_path: Path) -> None:
    for words in (("check",), ("export", "x.jsonl")):
        done = command(f"sqlite:///{tmp_path}/none/a.db", *words)
        assert (done.returncode, "There is no store" in done.stderr) == (1, True)
    done = command(f"sqlite:///{tmp_path}/a.db", "import", str(tmp_path / "nowhere"))
    assert (done.returncode, "cannot be read" in done.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []
