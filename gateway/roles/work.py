"""The role scheduler: the clock, and the workers that carry out what is due. Shell."""

from __future__ import annotations

import asyncio

import structlog

from gateway.forgetting import EVERY, Forgetting
from gateway.forwarding import Forwarding
from gateway.outbox import Outbox, Via
from gateway.roles import Shared
from gateway.settings import Relay
from gateway.sink import Sink
from gateway.telling import Telling
from scheduler.clock import JOINS_SWEEP, Clock, utc_now
from scheduler.dispatch import Dispatcher

log = structlog.get_logger("gateway")


class WorkRole:
    """Dispatches joins, sends replies, passes callbacks on, tells webhooks what happened."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._clock = Clock()
        self._alarms = [self._clock.alarm("joins", JOINS_SWEEP), *map(self._clock.alarm, ("replies", "callbacks"))]
        self._telling = self._clock.alarm("webhooks")  # its sweep is enough: what is told happens all the time
        self._hourly = self._clock.alarm("forgetting", EVERY)
        self._workers: list[Dispatcher | Outbox | Forwarding | Telling] = []
        self._running: list[asyncio.Task[None]] = []
        self._beside: list[asyncio.Task[None]] = []
        self._sink: Sink | None = None

    async def start(self) -> list[asyncio.Task[None]]:
        """Begin to work; the tasks that do."""
        engine, settings, owner = self._shared.engine, self._shared.settings, self._shared.dispatcher.owner
        hourly = settings.replies.hourly_per_organizer
        bounces = self._shared.bounces if settings.relay.bounces else None
        figures = self._shared.figures
        outbox = Outbox(engine, await self._relay(settings.relay), utc_now, owner, bounces, hourly, figures)
        forwarding = Forwarding(engine, settings.callbacks.private_networks, utc_now, owner, figures)
        telling = Telling(engine, settings.callbacks.private_networks, utc_now, owner)
        self._workers = [self._shared.dispatcher, outbox, forwarding, telling]
        self._clock.start()
        for worker, alarm in zip(self._workers, [*self._alarms, self._telling], strict=True):
            self._running.append(asyncio.create_task(worker.run(alarm)))
        forgetting = Forgetting(engine, settings.retention.span, settings.scheduling(), utc_now)
        beside = self._shared.bell.listen(self.wake), forgetting.run(self._hourly)
        self._beside = [asyncio.create_task(one) for one in beside]
        return [*self._running, *self._beside]

    def wake(self) -> None:
        """Look at once for what is due."""
        for alarm in self._alarms:
            alarm.ring()

    def take_no_more(self) -> None:
        """Claim nothing any more."""
        self._clock.stop()
        for worker in self._workers:
            worker.stop()

    async def finish(self, seconds: float) -> None:
        """Give what is under way so long to come to its end; others take what does not."""
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*(worker.finish(seconds) for worker in self._workers))
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=seconds)
            for task in late:
                task.cancel()
        self._shared.bell.ring()
        if self._sink is not None:
            await self._sink.close()

    async def _relay(self, relay: Relay) -> Via:
        """The relay of the settings, or a local one that writes into a folder."""
        if relay.host:
            return Via(relay.host, relay.port, relay.username, relay.password, relay.start_tls)
        log.warning(f"no relay is set (relay.host): replies are written to {relay.folder}/")
        self._sink = Sink(relay.folder)
        return Via("127.0.0.1", await self._sink.open())
