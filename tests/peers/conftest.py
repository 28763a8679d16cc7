"""Fixtures of the peer tests: one session of EDS for all of them, an empty calendar for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NoReturn

import pytest

from tests.peers.eds.client import Eds, Missing, session


def not_here(reason: str) -> NoReturn:
    """Skips a test whose peer is not installed; on CI, where install.sh has run, that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (tests/peers/install.sh installs it)")
    pytest.skip(f"{reason} (tests/peers/install.sh installs it)")


@pytest.fixture(scope="session")
def eds_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Eds | str]:
    """EDS, or the reason why it is not here."""
    try:
        with session(tmp_path_factory.mktemp("eds")) as peer:
            yield peer
    except Missing as missing:
        yield str(missing)


@pytest.fixture
def eds(eds_session: Eds | str) -> Eds:
    """EDS with an empty calendar."""
    if isinstance(eds_session, str):
        not_here(f"EDS: {eds_session}")
    eds_session.reset()
    return eds_session
