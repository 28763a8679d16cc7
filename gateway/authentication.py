"""Who really sent a mail: signatures, the sending server and other servers' findings make one identity. Pure.

Rules of this file:
- The rules are asked in order, the first that gives an identity ends it; each has its setting in `Trust`.
- A rule that DNS trouble kept from an answer is never skipped: the mail is to come again (`Undecided`).
- All that was looked at is in the chain, so that `explain` can tell it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from ipaddress import ip_address, ip_network
from typing import Final

from gateway.address import domain_of, from_uri, mailbox, normal
from gateway.ics import Unreadable, read
from gateway.lookups import Answers, Question, Trouble, Wanted, records
from gateway.mime import parse
from gateway.precheck import Fields, fields_of, first
from gateway.results import Results, results_of, sealed_results
from gateway.senders import GOOGLE, Origin, Sender, Step, is_aligned, organisation
from gateway.signatures import Chain, Signature, chain, key_names, newest_sealer, signatures
from gateway.spf import Permission, identity, permission

GOOGLE_CALENDAR: Final = "calendar-notification@google.com"
APPLE: Final = frozenset({"icloud.com", "apple.com", "insideicloud.icloud.com"})
TOKENS: Final = "imip.me.com"  # where iCloud's organizers have their addresses
# Apple's own senders. A user of icloud.com gets the same signature, so only a robot's mail is asked for EMAIL=.
_APPLE_ROBOTS: Final = ("noreply", "no-reply", "no_reply", "donotreply", "do_not_reply")
_MEETING_FORWARD: Final = "x-ms-exchange-meetingforward-message"
_REFUSING: Final = ("reject", "quarantine")


# What a rule that gives no identity wants to be told.
Steps = tuple[Step, ...]


class Require(StrEnum):
    """What a mail needs of its sender: `require` it verified, for an `allowlist` only, or nothing at all."""

    REQUIRE = "require"
    ALLOWLIST = "allowlist"
    OFF = "off"


@dataclass(frozen=True)
class Trust:
    """Whom the operator believes: a setting for each rule. `peers` are networks, `server` an authserv-id ('': none)."""

    google: bool = True
    apple: bool = True
    sealers: frozenset[str] = frozenset()
    meeting_forwards: bool = False
    server: str = ""
    peers: tuple[str, ...] = ()

    def is_pinned(self, peer: str) -> bool:
        """Whether the server that is connected to us is the operator's own front server."""
        try:
            address = ip_address(peer)
        except ValueError:
            return False
        plain = getattr(address, "ipv4_mapped", None) or address
        return any(plain in ip_network(one) for one in self.peers)


@dataclass(frozen=True)
class Arrived:
    """A mail that passed the precheck, as it came: bytes, MAIL FROM ('' for the null sender), and from where."""

    raw: bytes
    mail_from: str = ""
    origin: Origin = field(default_factory=Origin)

    @cached_property
    def fields(self) -> Fields:
        return fields_of(self.raw)

    @cached_property
    def claimed(self) -> str:
        """The From header."""
        return mailbox(first(self.fields, "from"))

    @cached_property
    def sent_by(self) -> str:
        """The Sender header, '' when it is not exactly one mailbox."""
        return mailbox(first(self.fields, "sender"))


@dataclass(frozen=True)
class Undecided:
    """DNS did not answer what the identity hangs on."""

    why: str


def wanted(mail: Arrived, trust: Trust, answers: Answers) -> frozenset[Question]:
    """What DNS is still to be asked before `judge` can speak; empty when all is there. SPF asks round by round."""
    if _results(mail, trust) is not None:
        return frozenset()
    found = set(key_names(mail.raw, arc=_may_count(mail, trust)))
    for ask in (_spf, _dmarc_policy) if _may_vouch(mail, trust) else (_spf,):
        try:
            ask(mail, trust, answers)
        except Wanted as one:
            found.add(one.question)
        except Trouble:
            continue
    return frozenset(found - answers.keys())


def judge(mail: Arrived, trust: Trust, answers: Answers, now: datetime) -> Sender | Undecided:
    """The sender of a mail at an instant, with all answers there."""
    reported = _results(mail, trust)
    if reported is not None:
        return _by_results(mail, trust.server, reported)
    evidence, steps = _Evidence(mail, trust, answers, now), tuple[Step, ...]()
    for rule in _RULES:
        try:
            found = rule(evidence)
        except Trouble as trouble:
            return Undecided(str(trouble))
        if isinstance(found, Sender):
            return evidence.told(replace(found, chain=(*steps, *found.chain)))
        steps += found
    return evidence.told(Sender("", rule="f", chain=(*steps, Step("rule", "f", "none", "nobody vouches for it"))))


@dataclass(frozen=True)
class _Evidence:
    """What speaks for a mail, looked at when a rule asks for it."""

    mail: Arrived
    trust: Trust
    answers: Answers
    now: datetime

    @cached_property
    def signatures(self) -> tuple[Signature, ...]:
        return signatures(self.mail.raw, self.answers, self.now)

    @cached_property
    def spf(self) -> Permission | None:
        return _spf(self.mail, self.trust, self.answers)

    @cached_property
    def chain(self) -> Chain:
        if not _may_count(self.mail, self.trust):
            return Chain("none")
        return chain(self.mail.raw, self.answers)

    def signed(self, counts: Callable[[Signature], bool]) -> Signature | None:
        """A good signature of the kind that counts. Raises Trouble when one of them could not be verified."""
        asked = [one for one in self.signatures if counts(one)]
        good = next((one for one in asked if one.is_good), None)
        if good is None and any(one.verdict == "trouble" for one in asked):
            raise Trouble(_key(next(one for one in asked if one.verdict == "trouble")))
        return good

    def permitted(self, domain: str) -> bool:
        """Whether SPF passes for a domain that belongs to this one. Raises Trouble."""
        if self.spf is None or not is_aligned(self.spf.domain, domain):
            return False
        if self.spf.verdict == "trouble":
            raise Trouble(Question(self.spf.domain))
        return self.spf.verdict == "pass"

    def covered(self, name: str, by: Signature) -> str:
        """The mailbox in a header, if the signature covers it."""
        return mailbox(first(self.mail.fields, name)) if name in by.covers else ""

    def told(self, sender: Sender) -> Sender:
        """The sender with everything that was looked at before its rule."""
        steps = [_signature_step(one, self.mail.claimed) for one in self.signatures]
        if self.spf is not None:
            aligned = is_aligned(self.spf.domain, domain_of(self.mail.claimed))
            detail = self.spf.why or ("aligned with From" if aligned else "")
            steps.append(Step("spf", self.spf.domain, self.spf.verdict, detail))
        if self.chain.verdict != "none":
            steps.append(Step("arc", ", ".join(self.chain.sealers), self.chain.verdict, self.chain.why))
        signers = tuple(dict.fromkeys(one.domain for one in self.signatures if one.is_good))
        return replace(sender, checked=True, claimed=self.mail.claimed, signers=signers, chain=(*steps, *sender.chain))


def _signature_step(one: Signature, claimed: str) -> Step:
    aligned = "aligned with From" if is_aligned(one.domain, domain_of(claimed)) else "not aligned with From"
    return Step("dkim", f"{one.domain} ({one.selector})", one.verdict, aligned if one.is_good else one.why)


def _key(one: Signature) -> Question:
    return Question(f"{one.selector}._domainkey.{one.domain}")


def _vouched(address: str, rule: str, why: str, reply_to: str = "", *more: Step) -> Sender:
    step = Step("rule", rule, "pass", why)
    return Sender(address, verified=True, rule=rule, reply_to=reply_to, chain=(*more, step))


def _by_from(evidence: _Evidence) -> Sender | Steps:
    """3a: the From, by a signature of its own organisation, or by its SPF."""
    claimed = evidence.mail.claimed
    domain = domain_of(claimed)
    try:
        signed = evidence.signed(lambda one: is_aligned(one.domain, domain))
    except Trouble:
        # The other way may do without the key.
        if evidence.permitted(domain):
            return _vouched(claimed, "a", _by_spf(evidence))
        raise
    if signed is not None:
        reply_to = evidence.covered("reply-to", signed)
        return _vouched(claimed, "a", f"signed by {signed.domain}, aligned with From", reply_to)
    if evidence.permitted(domain):
        return _vouched(claimed, "a", _by_spf(evidence))
    return ()


def _by_spf(evidence: _Evidence) -> str:
    domain = evidence.spf.domain if evidence.spf is not None else ""
    return f"{evidence.mail.origin.address} may send for {domain}, aligned with From"


def _by_google(evidence: _Evidence) -> Sender | Steps:
    """3b: the From, vouched for by Google's calendar, where the domain's owner does not forbid that."""
    mail = evidence.mail
    if not _may_vouch(mail, evidence.trust):
        return ()
    signed = evidence.signed(lambda one: one.domain == GOOGLE and "sender" in one.covers)
    if signed is None:
        return ()
    policy = _dmarc_policy(mail, evidence.trust, evidence.answers)
    step = Step("dmarc", domain_of(mail.claimed), policy or "none")
    if policy in _REFUSING:
        refused = Step("rule", "b", "fail", f"the owner of the domain says p={policy} to mail that it did not sign")
        return step, refused
    why = f"{GOOGLE_CALENDAR} sent it for From, signed by {GOOGLE}"
    return _vouched(mail.claimed, "b", why, evidence.covered("reply-to", signed), step)


def _by_arc(evidence: _Evidence) -> Sender | Steps:
    """3c: the From, as a trusted forwarder found it when the mail came to it."""
    if not _may_count(evidence.mail, evidence.trust):
        return ()
    found = evidence.chain
    if found.verdict == "trouble":
        raise Trouble(Question(next(iter(found.sealers), "")))
    if found.verdict != "pass" or not found.sealers or found.sealers[0] not in evidence.trust.sealers:
        return ()
    claimed = evidence.mail.claimed
    for sealer, text in zip(found.sealers, found.results, strict=True):
        why = _passed(sealed_results(text), domain_of(claimed)) if sealer in evidence.trust.sealers else ""
        if why:
            return _vouched(claimed, "c", f"sealed by {sealer}, which found {why}")
    return ()


def _by_apple(evidence: _Evidence) -> Sender | Steps:
    """3d: the EMAIL= of ORGANIZER, vouched for by Apple, whose From is a robot's."""
    local, _, domain = evidence.mail.claimed.rpartition("@")
    is_robot = local.startswith(_APPLE_ROBOTS) and any(is_aligned(domain, one) for one in APPLE)
    if not evidence.trust.apple or not is_robot:
        return ()
    signed = evidence.signed(lambda one: one.domain in APPLE)
    organizer = _token_owner(evidence.mail.raw) if signed is not None else ""
    if signed is None or not organizer:
        return ()
    return _vouched(organizer, "d", f"EMAIL= of ORGANIZER at {TOKENS}, signed by {signed.domain}")


def _token_owner(raw: bytes) -> str:
    """The one EMAIL= of all ORGANIZERs of a mail, each at iCloud's token domain; '' when there is not exactly one."""
    try:
        messages = [message for part in parse(raw).calendars for message in read(part.data)]
    except Unreadable:
        return ""
    lines = [line for message in messages for event in message.events for line in event.all("ORGANIZER")]
    if not all(domain_of(from_uri(line.value)) == TOKENS for line in lines):
        return ""
    owners = {normal(line.params.get("EMAIL", "").strip('"')) for line in lines}
    return owners.pop() if len(owners) == 1 else ""


def _by_sender(evidence: _Evidence) -> Sender | Steps:
    """3e: the Sender, who forwards somebody else's meeting by Exchange."""
    mail = evidence.mail
    if not _may_forward(mail, evidence.trust):
        return ()
    domain = domain_of(mail.sent_by)
    signed = evidence.signed(lambda one: is_aligned(one.domain, domain) and "sender" in one.covers)
    if signed is None and not evidence.permitted(domain):
        return ()
    how = f"signed by {signed.domain}" if signed is not None else _by_spf(evidence).replace("From", "Sender")
    return _vouched(mail.sent_by, "e", f"forwards a meeting; {how}")


# Apple's robot first: its own address is nobody's.
_RULES: Final = (_by_apple, _by_from, _by_google, _by_arc, _by_sender)


def _may_vouch(mail: Arrived, trust: Trust) -> bool:
    return trust.google and mail.sent_by == GOOGLE_CALENDAR


def _may_count(mail: Arrived, trust: Trust) -> bool:
    return any(one in trust.sealers for one in newest_sealer(mail.raw)) if trust.sealers else False


def _may_forward(mail: Arrived, trust: Trust) -> bool:
    return trust.meeting_forwards and bool(mail.sent_by) and bool(first(mail.fields, _MEETING_FORWARD))


def _spf(mail: Arrived, trust: Trust, answers: Answers) -> Permission | None:
    """What SPF says, None where it could not count: the domain is not that of From (or of the forwarder), or the only
    address that is known is the operator's own front server's, which its own domain allows to send.
    """
    if trust.is_pinned(mail.origin.address):
        return None
    domain = identity(mail.mail_from, mail.origin)
    counts = [mail.claimed, *([mail.sent_by] if _may_forward(mail, trust) else [])]
    if not any(is_aligned(domain, domain_of(one)) for one in counts):
        return None
    return permission(mail.mail_from, mail.origin, answers)


def _dmarc_policy(mail: Arrived, trust: Trust, answers: Answers) -> str:
    """What the owner of the From domain asks for mail that is not its own (RFC 7489 6.6.3), '' for nothing."""
    domain = domain_of(mail.claimed)
    for name in dict.fromkeys((domain, organisation(domain))):
        found = [tags for one in records(answers, f"_dmarc.{name}") if (tags := _dmarc_tags(one))]
        if len(found) == 1:
            inherited = found[0].get("sp", "") if name != domain else ""
            return inherited or found[0].get("p", "")
    return ""


def _dmarc_tags(record: bytes) -> dict[str, str]:
    pairs = (one.partition("=") for one in record.decode("ascii", "replace").split(";"))
    tags = [(name.strip().lower(), value.strip().lower()) for name, _, value in pairs]
    return dict(tags) if tags[0] == ("v", "dmarc1") else {}


def _results(mail: Arrived, trust: Trust) -> tuple[Results, ...] | None:
    """What the operator's front server found, None when the mail did not come through it."""
    if not trust.server or not trust.is_pinned(mail.origin.peer or mail.origin.address):
        return None
    found = (results_of(value) for name, value in mail.fields if name == "authentication-results")
    return tuple(one for one in found if one.server == trust.server.lower())


def _by_results(mail: Arrived, server: str, reported: Iterable[Results]) -> Sender:
    """The From, as the operator's own front server found it."""
    every = Results(server, tuple(one for results in reported for one in results.found))
    why = _passed(every, domain_of(mail.claimed))
    seen = ", ".join(f"{one.method}={one.verdict}" for one in every.found) or "nothing"
    step = Step("authentication-results", server, "pass" if why else "none", f"{why or seen}")
    signers = (
        one.domain("header.d", "header.i") for one in every.found if (one.method, one.verdict) == ("dkim", "pass")
    )
    return Sender(
        mail.claimed if why else "",
        verified=bool(why),
        checked=True,
        claimed=mail.claimed,
        rule="authentication-results" if why else "f",
        signers=tuple(dict.fromkeys(filter(None, signers))),
        chain=(step,),
    )


def _passed(results: Results, domain: str) -> str:
    """What another server found that speaks for a From of this domain, '' for nothing."""
    judged = [one for one in results.found if one.method == "dmarc"]
    if len(judged) > 1 or any(one.verdict in ("fail", "temperror", "permerror") for one in judged):
        # Two verdicts on one mail: one of them is not the server's own.
        return ""
    for one in results.found:
        named = {
            "dmarc": one.domain("header.from"),
            "dkim": one.domain("header.d", "header.i"),
            "spf": one.domain("smtp.mailfrom"),
        }.get(one.method, "")
        exact = one.method == "dmarc"
        if one.verdict == "pass" and named and (named == domain if exact else is_aligned(named, domain)):
            return f"{one.method}=pass for {named}"
    return ""
