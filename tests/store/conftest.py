"""Connections to a store that are closed when the test is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine

from gateway import store
from scheduler.database import connect

Connect = Callable[[], Engine]


@pytest.fixture
def process(store_url: str) -> Iterator[Connect]:
    """Makes engines to one store, each like that of a process of its own."""
    engines: list[Engine] = []

    def make() -> Engine:
        engines.append(connect(store_url))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


@pytest.fixture
def engine(process: Connect) -> Engine:
    """A store with its schema."""
    engine = process()
    store.migrate(engine)
    return engine
