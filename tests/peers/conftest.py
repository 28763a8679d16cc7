"""Fixtures of the peer tests: one session of EDS for all of them, an empty calendar for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import not_here
from tests.peers.eds.client import Eds, Missing, session


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
        not_here(f"EDS: {eds_session} (tests/peers/install.sh installs it)")
    eds_session.reset()
    return eds_session
