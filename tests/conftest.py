"""Fixtures for all tests: the two stores."""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import fastapi.dependencies.models
import pytest
import structlog

from tests.postgres import Missing, Postgres, running

STORES: Final = ("sqlite", "postgresql")


def not_here(reason: str) -> NoReturn:
    """Skips a test whose peer is not installed; on CI, where everything is, that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres | str]:
    """PostgreSQL, or the reason why it is not here."""
    try:
        with running() as server:
            yield server
    except Missing as missing:
        yield str(missing)


def empty_store(kind: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """The URL of a new store of a kind (one of STORES)."""
    if kind == "sqlite":
        return f"sqlite:///{folder}/gateway.db"
    server = request.getfixturevalue("postgres")
    if isinstance(server, str):
        not_here(server)
    return str(server.store())


@pytest.fixture(params=STORES)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind, by its URL."""
    return empty_store(request.param, request, tmp_path)


@pytest.fixture
def logs_as_they_were() -> Iterator[None]:
    """What `gateway.logs.configure` changes is changed back."""
    handlers, caught = list(logging.getLogger().handlers), warnings.showwarning
    before = structlog.get_config()
    yield
    structlog.configure(**before)
    logging.captureWarnings(capture=False)
    warnings.showwarning = caught
    logging.getLogger().handlers[:] = handlers


@pytest.fixture(scope="module", autouse=True)
def gateways_are_forgotten() -> Iterator[None]:
    """FastAPI remembers thousands of functions, and with them each gateway that a test has had: a gigabyte in the end,
    and a collection goes through all of it for seconds, in the middle of a request."""
    yield
    for remembers in vars(fastapi.dependencies.models).values():
        if hasattr(remembers, "cache_clear"):
            remembers.cache_clear()


@pytest.fixture
def without_collections() -> Iterator[None]:
    """For a test that counts CPU: going through what all the tests before have left would count, too."""
    gc.disable()
    yield
    gc.enable()
