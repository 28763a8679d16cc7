"""What is committed together, and whom a fault in it concerns, on both stores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from time import monotonic

import pytest
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, event, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

from scheduler.database import AWAY, connect
from scheduler.together import Gathered, Together, Write, committed

numbers = Table("numbers", MetaData(), Column("number", Integer, primary_key=True))


@pytest.fixture
def engine(store_url: str) -> Iterator[Engine]:
    engine = connect(store_url)
    numbers.create(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


def adds(number: int) -> Callable[[Connection], int]:
    """Writes a number, and returns it."""

    def write(connection: Connection) -> int:
        connection.execute(insert(numbers).values(number=number))
        return number

    return write


def written(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.execute(select(numbers.c.number).order_by(numbers.c.number)).scalars())


def commits(engine: Engine) -> list[Connection]:
    """Grows by one with each commit."""
    seen: list[Connection] = []
    event.listen(engine, "commit", seen.append)
    return seen


def company(threads: ThreadPoolExecutor, it: Together, *writes: Callable[[Connection], int]) -> list[Future[int]]:
    """Writes that all came while another was being written, so that they are one transaction; the last comes first."""
    is_writing, goes_on = Event(), Event()

    def slow(connection: Connection) -> None:
        is_writing.set()
        assert goes_on.wait(30)

    first = threads.submit(it.run, slow)
    assert is_writing.wait(30)
    last_first = [threads.submit(it.run, write, (f"{n:04}",)) for n, write in reversed(list(enumerate(writes)))]
    until(lambda: len(it._waiting) == len(writes))
    goes_on.set()
    first.result(30)
    return last_first[::-1]


def until(is_so: Callable[[], bool]) -> None:
    end = monotonic() + 30
    while not is_so():
        assert monotonic() < end


def test_who_comes_while_another_writes_is_committed_together(engine: Engine, threads: ThreadPoolExecutor) -> None:
    it, seen = Together(engine), commits(engine)
    found = company(threads, it, *map(adds, range(20)))
    assert [one.result(30) for one in found] == list(range(20)) == written(engine)
    assert len(seen) == 2  # the slow one, and all others


def test_who_comes_alone_does_not_wait(engine: Engine) -> None:
    it, seen = Together(engine), commits(engine)
    assert [it.run(adds(number)) for number in range(3)] == [0, 1, 2]
    assert len(seen) == 3


def test_a_fault_concerns_only_who_made_it(engine: Engine, threads: ThreadPoolExecutor) -> None:
    it = Together(engine)
    it.run(adds(7))

    def broken(connection: Connection) -> int:
        adds(99)(connection)
        raise ValueError("mine")

    found = company(threads, it, adds(1), adds(7), broken, adds(2))
    assert (found[0].result(30), found[3].result(30)) == (1, 2)
    with pytest.raises(IntegrityError):
        found[1].result(30)
    with pytest.raises(ValueError, match="mine"):
        found[2].result(30)
    assert written(engine) == [1, 2, 7]
    assert it.run(adds(3)) == 3


def test_those_of_one_transaction_are_written_in_their_order(engine: Engine, threads: ThreadPoolExecutor) -> None:
    it, seen = Together(engine), list[int]()

    def notes(number: int) -> Callable[[Connection], int]:
        def write(connection: Connection) -> int:
            seen.append(number)
            return number

        return write

    for one in company(threads, it, *map(notes, range(30))):
        one.result(30)
    assert seen == list(range(30))


def test_a_commit_that_is_lost_is_heard_of_by_all_and_not_done_again(
    engine: Engine, threads: ThreadPoolExecutor
) -> None:
    it, tries = Together(engine), list[int]()

    def counted(number: int) -> Callable[[Connection], int]:
        def write(connection: Connection) -> int:
            tries.append(number)
            return adds(number)(connection)

        return write

    def lose(connection: Connection) -> None:
        if tries:
            raise OperationalError("COMMIT", None, ConnectionError("the connection is lost"))

    event.listen(engine, "commit", lose)
    found = company(threads, it, *map(counted, range(3)))
    assert [type(one.exception(30)) for one in found] == [OperationalError] * 3
    assert tries == [0, 1, 2]


def test_a_store_that_is_away_is_asked_once_for_all(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    engine = connect(f"sqlite:///{tmp_path}/gone/gateway.db")
    it, asked = Together(engine), list[int]()

    def ask(*_: object) -> None:
        asked.append(1)
        if len(asked) == 1:
            until(lambda: len(it._waiting) == 19)

    event.listen(engine, "do_connect", ask)
    found = [threads.submit(it.run, adds(number)) for number in range(20)]
    assert all(isinstance(one.exception(30), AWAY) for one in found)
    assert len(asked) == 2  # for the first one, and for all that came meanwhile


def test_many_threads_write_each_thing_once(engine: Engine) -> None:
    it, seen = Together(engine), commits(engine)

    def many(first: int) -> None:
        for number in range(first, first + 25):
            assert it.run(adds(number)) == number

    threads = [Thread(target=many, args=(first,)) for first in range(0, 400, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert written(engine) == list(range(400))
    assert len(seen) <= 400


def test_outcomes_come_in_the_order_that_they_were_asked_for(engine: Engine) -> None:
    seen: list[int] = []

    def notes(number: int) -> Callable[[Connection], int]:
        def write(connection: Connection) -> int:
            seen.append(number)
            return number

        return write

    found = committed(engine, [Write(notes(number), (str(number),)) for number in (3, 1, 2)])
    assert [one.result() for one in found] == [3, 1, 2]
    assert seen == [1, 2, 3]


def test_what_several_coroutines_ask_is_done_in_one_go_and_what_they_ask_meanwhile_in_the_next() -> None:
    async def test() -> None:
        goes: list[list[int]] = []
        is_doing, goes_on = Event(), Event()

        def double(numbers: Sequence[int]) -> list[int]:
            goes.append(list(numbers))
            is_doing.set()
            assert goes_on.wait(30)
            return [number * 2 for number in numbers]

        it = Gathered(double)
        first = [asyncio.create_task(it.ask(number)) for number in range(3)]
        await asyncio.to_thread(is_doing.wait, 30)
        next_ones = [asyncio.create_task(it.ask(number)) for number in (7, 8, 9)]
        await asyncio.sleep(0)
        next_ones[1].cancel()  # it is done all the same
        goes_on.set()
        assert await asyncio.gather(*first) == [0, 2, 4]
        assert await asyncio.gather(*next_ones[::2]) == [14, 18]
        assert await it.ask(5) == 10
        assert goes == [[0, 1, 2], [7, 8, 9], [5]]

    asyncio.run(test())


def test_a_fault_is_heard_by_all_who_asked_in_that_go() -> None:
    async def test() -> None:
        def fail(numbers: Sequence[int]) -> list[int]:
            if 1 in numbers:
                raise ValueError("no")
            return list(numbers)

        it = Gathered(fail)
        found = await asyncio.gather(*(it.ask(number) for number in range(3)), return_exceptions=True)
        assert [type(one) for one in found] == [ValueError] * 3
        assert await it.ask(5) == 5

    asyncio.run(test())


def test_a_stop_waits_for_what_was_asked_for_and_waits_in_its_turn() -> None:
    async def test() -> None:
        done: list[int] = []
        is_doing, goes_on = Event(), Event()

        def note(numbers: Sequence[int]) -> Sequence[int]:
            is_doing.set()
            assert goes_on.wait(30)
            done.extend(numbers)
            return numbers

        it = Gathered(note)
        asking = [asyncio.create_task(it.ask(1))]
        await asyncio.to_thread(is_doing.wait, 30)
        asking.append(asyncio.create_task(it.ask(2)))
        await asyncio.sleep(0)
        for one in asking:
            one.cancel()
        drained = asyncio.create_task(it.drained())
        goes_on.set()
        await drained
        assert done == [1, 2]

    asyncio.run(test())
