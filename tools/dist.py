"""The release: source distribution and wheel, built offline with what is locked; `make dist`, `make dist-check`.

Rules of this file:
- The wheel is built from the unpacked source distribution, so what is missing there is found.
- The same commit gives the same bytes: times are the commit's (SOURCE_DATE_EPOCH).
- It says where this is no release: no section in the changelog, changes that are not committed. --release refuses then.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gateway import __version__

ROOT: Final = Path(__file__).parent.parent
DIST: Final = ROOT / "dist"
LOCK: Final = ROOT / "deploy" / "requirements" / "run.lock"  # what runs, without what builds and tests


def build(source: Path, target: Path, kind: str) -> Path:
    """Build the `sdist` or `wheel` of a source tree into a folder."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(target)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _epoch()}
    built = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True, check=False)
    if built.returncode:
        sys.exit(f"The {kind} cannot be built:\n{built.stderr}")
    (made,) = target.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return made


def unpacked(sdist: Path, target: Path) -> Path:
    """The source tree that is in a source distribution."""
    with tarfile.open(sdist) as archive:
        if hasattr(tarfile, "data_filter"):  # not before Python 3.11.4, and Debian 12 has 3.11.2
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(target)  # noqa: S202 - our own archive
    (tree,) = target.iterdir()
    return tree


def _epoch() -> str:
    """The seconds of the commit; those given, or hatchling's own, where there is none."""
    asked = subprocess.run(["git", "log", "-1", "--format=%ct"], cwd=ROOT, capture_output=True, text=True, check=False)
    return os.environ.get("SOURCE_DATE_EPOCH") or asked.stdout.strip() or "1580601600"


def not_a_release(changelog: str, version: str, changes: str) -> Iterator[str]:
    """Why what is built is no release; each a sentence."""
    if not re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        yield f"CHANGELOG.md has no section “## {version} - YYYY-MM-DD”."
    if changes:
        yield "There are changes that are not committed."


def _make(*, only_release: bool) -> None:
    changes = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False)
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for sentence in (doubts := list(not_a_release(changelog, __version__, changes.stdout))):
        print(f"This is no release: {sentence}")
    if doubts and only_release:
        sys.exit(1)
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        sdist = build(ROOT, DIST, "sdist")
        wheel = build(unpacked(sdist, Path(folder)), DIST, "wheel")
    sums = "".join(f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {one.name}\n" for one in (sdist, wheel))
    (DIST / "SHA256SUMS").write_text(sums, "utf-8")
    print(sums, end="")


def _check() -> None:
    """The wheel where there is nothing else, and what a packager does with the source distribution."""
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        venv.create(here / "venv", with_pip=True)
        python = here / "venv" / "bin" / "python"
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "--requirement", str(LOCK)], check=True)
        subprocess.run([*pip, "--no-deps", str(wheel)], check=True)
        subprocess.run([python, "-m", "pip", "check"], check=True)
        (here / "empty").mkdir()
        own = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAY_", "PYTHON"))}
        ports = {"GATEWAY_SMTP__PORT": "0", "GATEWAY_HTTP__PORT": "0"}
        command = python.with_name("pal-gateway")
        subprocess.run([command, "--version"], check=True, env=own)
        subprocess.run([command, "demo"], check=True, env=own | ports, cwd=here / "empty")
        tree = unpacked(sdist, here / "source")
        for words in (
            ["-m", "tools.reference", "--check"],
            ["-m", "pytest", "tests/test_docs.py", "tests/test_layers.py"],
        ):
            subprocess.run([sys.executable, *words], check=True, cwd=tree, env=own | {"PYTHONPATH": str(tree)})
    print(f"{wheel.name} and {sdist.name} are whole.")


def main() -> None:
    """Build, or with --check look at what was built."""
    if "--check" in sys.argv[1:]:
        _check()
    else:
        _make(only_release="--release" in sys.argv[1:])


if __name__ == "__main__":
    main()
