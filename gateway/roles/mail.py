"""The role smtp: the ports that mail comes in by, and the readers behind them. Shell."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from gateway.admission import Admission
from gateway.inbound.certificate import BadCertificate, Certificate
from gateway.inbound.edge import Edge
from gateway.intake import Intake
from gateway.ports import CannotStart, mail_sockets
from gateway.readers import Readers
from gateway.resolver import Resolver
from gateway.returns import Returns
from gateway.roles import Shared
from gateway.settings import Smtp
from gateway.smtp import Desk


class MailRole:
    """Takes mail. Raises CannotStart when a port or the certificate cannot be used."""

    def __init__(self, shared: Shared, resolver: Resolver) -> None:
        settings = shared.settings
        certificate = _certificate(settings.smtp)
        senders = settings.senders
        self.admission = Admission(resolver, senders.sender_auth, settings.trust(), senders.dns_seconds)
        self._readers = Readers(settings.limits(), settings.desk())
        hold = timedelta(seconds=settings.replies.hold_seconds)
        self.intake = Intake(
            shared.engine,
            settings.desk(),
            hold,
            self._readers.read,
            figures=shared.figures,
            log_subjects=settings.log_subjects,
        )
        self._desk = Desk(
            self.intake,
            self.admission,
            settings.mail_domains(),
            Returns(shared.engine, shared.bounces, self._readers.read_report, shared.figures),
            shared.wake,
            settings.smtp.max_recipients,
            shared.figures,
        )
        self._edge = Edge(self._desk, settings.domain, settings.smtp, certificate)
        self._sockets = mail_sockets(settings.smtp)
        # A Unix socket has no number.
        self.ports = {kind: name[1] for kind, sock in self._sockets if isinstance(name := sock.getsockname(), tuple)}

    def let_go(self) -> None:
        """Close the ports of a role that is not started."""
        for _, sock in self._sockets:
            sock.close()

    async def start(self) -> None:
        """Open the doors."""
        self._readers.start()
        for kind, sock in self._sockets:
            await self._edge.open(kind, sock)

    def take_no_more(self) -> None:
        """Take nobody in any more, and part from those who are not in a mail."""
        self._edge.stop()

    async def finish(self, seconds: float) -> None:
        """Give mails under way so long to come to their end, and end the readers."""
        # A client that has gone does not undo its mail.
        await asyncio.gather(self._edge.close(seconds), self._desk.finish(seconds))
        self._readers.close()


def _certificate(settings: Smtp) -> Certificate | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    try:
        return Certificate(settings.tls_certificate, settings.tls_key)
    except BadCertificate as error:
        raise CannotStart(str(error)) from error
