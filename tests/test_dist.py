"""What is released: all files are in it, the same source gives the same bytes, and the wheel works by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import gateway
from tools.dist import ROOT, build, not_a_release, unpacked


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="module")
def source(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(sdist, tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(source, tmp_path_factory.mktemp("wheel"), "wheel")


def product() -> set[str]:
    """The files of the product, as they are here."""
    found = (path for room in ("gateway", "scheduler") for path in (ROOT / room).rglob("*") if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def test_the_source_distribution_has_every_file_of_the_clone(sdist: Path) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    asked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names - {"PKG-INFO"} == {name for name in told if name and (ROOT / name).exists()}


def test_the_same_source_gives_the_same_bytes(sdist: Path, source: Path, wheel: Path, tmp_path: Path) -> None:
    again = shutil.copytree(source, tmp_path / "elsewhere")
    for path in (again, *again.rglob("*")):
        os.utime(path, (1, 1))
    assert build(again, tmp_path / "wheel", "wheel").read_bytes() == wheel.read_bytes()
    assert build(again, tmp_path / "sdist", "sdist").read_bytes() == sdist.read_bytes()


def test_the_wheel_has_the_product_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if ".dist-info/" not in name} == product()
    assert wheel.name == f"pal_gateway-{gateway.__version__}-py3-none-any.whl"


def test_the_wheel_shows_the_main_path_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    place, empty = tmp_path / "place", tmp_path / "empty"
    empty.mkdir()
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    command = [*pip, "--no-compile", "--target", str(place), str(wheel)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    own = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    own |= {"PYTHONPATH": str(place), "GATEWAY_SMTP__PORT": "0", "GATEWAY_HTTP__PORT": "0"}
    where = "import gateway, scheduler; print(gateway.__file__); print(scheduler.__file__)"
    told = subprocess.run([sys.executable, "-c", where], cwd=empty, env=own, capture_output=True, text=True, check=True)
    assert [line.startswith(str(place)) for line in told.stdout.splitlines()] == [True, True]
    command = [sys.executable, str(place / "bin" / "pal-gateway"), "demo"]
    done = subprocess.run(command, cwd=empty, env=own, capture_output=True, text=True, check=False, timeout=50)
    assert done.returncode == 0, done.stderr
    assert "Anna is in the call" in done.stdout


@pytest.mark.parametrize(
    ("changelog", "changes", "says"),
    [
        ("## Unreleased\n\n## 1.2.0 - 2026-12-01\n", "", []),
        ("## 1.2.0\n", "", ["CHANGELOG.md has no section"]),
        ("## 1.2.01 - 2026-12-01\n", "", ["CHANGELOG.md has no section"]),
        ("## 1.2.0 - 2026-12-01\n", " M README.md\n", ["There are changes"]),
    ],
)
def test_what_is_no_release(changelog: str, changes: str, says: list[str]) -> None:
    told = list(not_a_release(changelog, "1.2.0", changes))
    assert [one.startswith(word) for one, word in zip(told, says, strict=True)] == [True] * len(says)
