"""How far a long command is: a bar where stderr is a terminal, plain lines where it is none, stdout always clean."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import store
from gateway.app import open_store
from scheduler.clock import utc_now
from tests.chaos import counted
from tests.commands.words import ROOT, run

SAMPLE = ROOT / "samples" / "google" / "01-new.eml"
NUMBER = 120


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of many mails."""
    made = tmp_path_factory.mktemp("many")
    mail = SAMPLE.read_bytes()
    for number in range(NUMBER):
        (made / f"{number:03}.eml").write_bytes(mail.replace(b"4f1q8c2j", b"%08d" % number))
    return made


def on_a_terminal(*words: str, stdout_too: bool = False, module: str = "gateway") -> tuple[str, str, int]:
    """(stdout, stderr, exit code) of a command whose stderr is a terminal; whose stdout is, too: all of it is there."""
    here, there = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-m", module, *words],
        stdout=there if stdout_too else subprocess.PIPE,
        stderr=there,
        stdin=subprocess.DEVNULL,
        env=environment,
        cwd=ROOT,
    ) as process:
        os.close(there)
        pipes = {here: b"", **({process.stdout.fileno(): b""} if process.stdout else {})}
        open_ones = set(pipes)
        while open_ones:
            for one in select.select(list(open_ones), [], [])[0]:
                try:
                    data = os.read(one, 65536)
                except OSError:  # EIO: the other end of a terminal is gone
                    data = b""
                pipes[one] += data
                if not data:
                    open_ones.discard(one)
        code = process.wait()
    os.close(here)
    screen = pipes.pop(here).decode()
    return "".join(one.decode() for one in pipes.values()), screen, code


def test_a_bar_on_a_terminal_and_json_alone_on_stdout(folder: Path) -> None:
    out, screen, code = on_a_terminal("replay", "--json", "--now", "2026-03-01T08:00:00Z", str(folder))
    assert code == 0, screen
    assert [json.loads(line)["verdict"] for line in out.splitlines()] == ["accepted"] * NUMBER
    assert "━" in screen
    assert f"{NUMBER}/{NUMBER}" in screen
    assert "accepted" not in screen


def test_lines_stay_whole_beside_the_bar(folder: Path) -> None:
    _, screen, code = on_a_terminal("replay", "--json", "--now", "2026-03-01T08:00:00Z", str(folder), stdout_too=True)
    assert code == 0, screen
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    objects = [json.loads(one) for one in re.findall(r"\{.*\}", plain)]
    assert len(objects) == NUMBER


def test_plain_lines_elsewhere(folder: Path) -> None:
    done = run("replay", "--json", "--now", "2026-03-01T08:00:00Z", str(folder))
    assert done.returncode == 0
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == NUMBER
    tenths = [f"replay: {NUMBER * tenth // 10} of {NUMBER} files" for tenth in range(1, 10)]
    assert [line for line in done.stderr.splitlines() if line in tenths] == tenths
    assert "\x1b" not in done.stderr


def test_what_is_short_is_not_told_of() -> None:
    done = run("replay", str(SAMPLE.parent))
    assert (done.returncode, done.stderr) == (0, "")


def test_an_import_and_an_export(tmp_path: Path) -> None:
    url, number = f"sqlite:///{tmp_path}/a.db", 5000
    here, there = {"GATEWAY_STORE__URL": url}, {"GATEWAY_STORE__URL": f"sqlite:///{tmp_path}/b.db"}
    engine = open_store(url)
    with engine.begin() as connection:
        for one in range(number):
            store.save_mail(connection, store.MailRow(f"m{one:05}", utc_now(), "", (), "", b"x"))
    engine.dispose()
    written = run("db", "export", str(tmp_path / "x.jsonl"), env=here)
    read = run("db", "import", str(tmp_path / "x.jsonl"), env=there)
    for done in (written, read):
        assert done.returncode == 0, done.stderr
        told = [line for line in done.stderr.splitlines() if line.startswith("mails: ")]
        assert len(told) >= 5, told
        assert (told[0].endswith(f" of {number} rows"), told[-1]) == (True, f"mails: {number} rows")
        assert done.stdout == ""


def test_chaos_counts_its_tests_and_passes_pytests_words_on(tmp_path: Path) -> None:
    path = tmp_path / "test_some.py"
    path.write_text(
        "import pytest\n"
        "def test_quiet(): pass\n"
        "def test_loud(): print('\\nkilled 20 times')\n"
        "@pytest.mark.skip(reason='no peer')\n"
        "def test_skipped(): pass\n"
        "def test_wrong(): assert False\n"
    )
    command = [sys.executable, "-m", "tests.chaos", "-p", "no:cacheprovider", "-c", os.devnull, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1, done.stderr
    assert "killed 20 times" in done.stdout
    assert "1 failed, 2 passed, 1 skipped" in done.stdout
    assert done.stderr.splitlines()[-1] == "chaos: 4 tests"
    _, screen, code = on_a_terminal(*command[3:], module="tests.chaos")
    assert (code, "━" in screen, "4/4" in screen) == (1, True, True)


def test_an_outcome_is_counted_once() -> None:
    lines = [
        "collected 12 items / 9 deselected / 3 selected\n",
        "tests/a.py::test_one PASSED\n",
        "tests/a.py::test_two \n",
        "the word PASSED in what it prints\n",
        "SKIPPED (no peer)\n",
        "tests/a.py::test_three FAILED\n",
        "FAILED tests/a.py::test_three - AssertionError\n",
    ]
    assert [(done, total) for _, done, total in counted(lines)] == [
        (0, 3), (1, 3), (1, 3), (1, 3), (2, 3), (3, 3), (3, 3),
    ]  # fmt: skip
