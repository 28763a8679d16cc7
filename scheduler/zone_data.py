"""Which time-zone data this installation has, so that a change of it can be noticed. Shell."""

from __future__ import annotations

from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from zoneinfo import TZPATH

from scheduler.zones import iana_names


def iana_version() -> str:
    """Changes with the rules of any IANA zone: a digest of the time-zone data of this installation.

    Neither a package's version nor a system's file says it: the data may come from both.
    """
    digest = blake2b(digest_size=16)
    for name in sorted(iana_names()):
        digest.update(name.encode() + _rules_of(name))
    return digest.hexdigest()


def _rules_of(name: str) -> bytes:
    # The order in which zoneinfo looks.
    for root in (*map(Path, TZPATH), files("tzdata") / "zoneinfo"):
        found = root.joinpath(*name.split("/"))
        if found.is_file():
            return found.read_bytes()
    return b""
