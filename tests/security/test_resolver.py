"""The resolver against a name server of ours on loopback: what it asks, what it remembers, what it calls trouble."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from gateway.admission import Admission, Refusal
from gateway.authentication import Arrived
from gateway.lookups import Question, Records
from gateway.resolver import DnsResolver
from gateway.senders import Origin, Sender
from scheduler.clock import utc_now
from tests.security.world import BOSS, EVE_SERVER, compose, key, sign, world

ZONE = {
    ("s1.example.", "TXT"): (60, ['"v=DKIM1; " "p=abc"', '"other"']),
    ("short.example.", "TXT"): (0, ['"a"']),
    ("host.example.", "A"): (60, ["192.0.2.1"]),
    ("host.example.", "AAAA"): (60, ["2001:db8::1"]),
    ("example.example.", "MX"): (60, ["10 mx.example.example."]),
    ("1.2.0.192.in-addr.arpa.", "PTR"): (60, ["host.example."]),
}


@dataclass
class Server(asyncio.DatagramProtocol):
    """Answers from a zone; `silent` gets no answer, `broken` a SERVFAIL. Counts what it is asked."""

    asked: Counter[str] = field(default_factory=Counter)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        name, kind = query.question[0].name.to_text().lower(), dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked[name] += 1
        if name.startswith("silent"):
            return
        answer = dns.message.make_response(query, recursion_available=True)
        found = ZONE.get((name, kind))
        if name.startswith("broken"):
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif found is not None:
            answer.answer.append(dns.rrset.from_text_list(name, found[0], "IN", kind, found[1]))
        elif not any(known == name for known, _ in ZONE):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), address)


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[DnsResolver, Server]]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    try:
        yield DnsResolver(["127.0.0.1"], transport.get_extra_info("sockname")[1]), server
    finally:
        transport.close()


def test_records_come_in_the_form_that_is_read() -> None:
    async def ask() -> list[Records | None]:
        async with serving() as (resolver, _):
            questions = [Question(name.removesuffix("."), kind) for name, kind in ZONE if name != "short.example."]
            return [await resolver.answer(one, 5) for one in questions]

    txt, *rest = asyncio.run(ask())
    assert txt is not None
    assert sorted(txt) == [b"other", b"v=DKIM1; p=abc"]
    assert rest == [("192.0.2.1",), ("2001:db8::1",), ((10, "mx.example.example"),), ("host.example",)]


def test_what_is_not_there_is_an_answer_and_trouble_is_none() -> None:
    async def ask() -> list[Records | None]:
        async with serving() as (resolver, _):
            names = ("nowhere.example", "host.example", "broken.example", "silent.example")
            return [await resolver.answer(Question(name), 0.5) for name in names]

    assert asyncio.run(ask()) == [(), (), None, None]


def test_an_answer_is_remembered_as_long_as_it_says_and_trouble_is_not() -> None:
    async def ask() -> Counter[str]:
        async with serving() as (resolver, server):
            for name in ("s1.example", "short.example", "nowhere.example", "broken.example") * 3:
                await resolver.answer(Question(name), 0.5)
            return server.asked

    asked = asyncio.run(ask())
    assert asked["s1.example."] == 1
    assert asked["short.example."] == 3
    assert asked["broken.example."] >= 3


def test_no_name_server_at_all_is_trouble() -> None:
    async def ask() -> Records | None:
        return await DnsResolver(["127.0.0.1"], 9).answer(Question("s1.example"), 0.5)

    assert asyncio.run(ask()) is None


def test_a_deadline_holds_for_all_questions_together() -> None:
    """Five signatures whose keys nobody answers for take one deadline, not five."""
    raw, _ = compose("anna@invite.example.com")
    raw = raw.replace(b"boss@acme.example>", b"boss@example.silent>")
    for number in range(5):
        raw = sign(raw, "example.silent", selector=f"silent{number}", with_key=key())

    async def examine() -> tuple[Sender | Refusal | None, float]:
        async with serving() as (resolver, _):
            arrived = Arrived(raw, BOSS, Origin(EVE_SERVER, "m", EVE_SERVER))
            begun = asyncio.get_running_loop().time()
            said = await Admission(resolver, seconds=0.6).examine(arrived, utc_now, for_a_pal=True)
            return said, asyncio.get_running_loop().time() - begun

    said, seconds = asyncio.run(examine())
    assert isinstance(said, Refusal)
    assert said.answer.startswith("451 4.4.3")
    assert seconds < 2


def test_names_are_asked_for_at_once() -> None:
    """Two keys, SPF and DMARC of one mail are under way together; each is asked for once."""
    raw, _ = compose("anna@invite.example.com", headers={"Sender": "calendar-notification@google.com"})
    raw = sign(sign(raw, "acme.example"), "google.com", covers=["from", "sender", "to", "subject", "date"])
    zone = world()
    together = 0

    class Gate:
        """Lets nobody through before four have asked."""

        def __init__(self) -> None:
            self.waiting = 0
            self.open = asyncio.Event()

        async def answer(self, question: Question, seconds: float) -> Records | None:
            nonlocal together
            self.waiting += 1
            together = max(together, self.waiting)
            if self.waiting == 4:
                self.open.set()
            await asyncio.wait_for(self.open.wait(), 10)
            return await zone.answer(question, seconds)

    async def examine() -> Sender | Refusal | None:
        arrived = Arrived(raw, BOSS, Origin(EVE_SERVER, "m", EVE_SERVER))
        return await Admission(Gate()).examine(arrived, utc_now, for_a_pal=True)

    said = asyncio.run(examine())
    assert isinstance(said, Sender)
    assert said.address == BOSS
    assert together == 4
    assert len(zone.asked) == len(set(zone.asked)) == 4
