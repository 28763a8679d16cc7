"""The signatures of a mail: DKIM (RFC 6376), and ARC chains (RFC 8617). Pure.

Rules of this file:
- Every DKIM signature is verified, up to a limit: the first one is often not the one that counts.
- Stricter than the standard where it is lax: no `l=` (a body can be added to), From in `h=`, 1024 bits, no SHA-1.
- dkimpy leaks what it meets in hostile input: any exception of its own is a bad signature.
- dkimpy asks the clock about `t=` and `x=`; here `now` is an argument, so it never sees them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import dkim
from dkim.util import parse_tag_value

from gateway.lookups import Answers, Question, Trouble, Wanted, records

MAX_SIGNATURES: Final = 5
MAX_SEALS: Final = 10
MIN_BITS: Final = 1024
SKEW: Final = timedelta(hours=1)  # how far ahead a signer's clock may be

_SIGNATURE: Final = b"dkim-signature"
_SEAL: Final = b"arc-seal"
_SEALED: Final = (_SEAL, b"arc-message-signature")
_INSTANCE: Final = re.compile(rb"[1-9][0-9]?")
_COLON: Final = re.compile(rb"\s*:\s*")


@dataclass(frozen=True)
class Signature:
    """One DKIM signature: who signed, `verdict` (pass, fail, trouble), why not, and the headers it covers."""

    domain: str
    selector: str
    verdict: str
    why: str = ""
    covers: frozenset[str] = frozenset()

    @property
    def is_good(self) -> bool:
        return self.verdict == "pass"


@dataclass(frozen=True)
class Chain:
    """An ARC chain: `verdict` (none, pass, fail, trouble), the domains that sealed it, newest first, and what each
    found when the mail came to it (the text of its ARC-Authentication-Results)."""

    verdict: str
    why: str = ""
    sealers: tuple[str, ...] = ()
    results: tuple[str, ...] = ()


def key_names(raw: bytes, *, arc: bool) -> frozenset[Question]:
    """The key records that the signatures of a mail are to be verified with; of its ARC chain only if that counts."""
    mail = _parsed(_header(raw))
    wanted = _values(mail, _SIGNATURE)[:MAX_SIGNATURES]
    if arc and len(_values(mail, _SEAL)) <= MAX_SEALS:
        wanted += [value for name in _SEALED for value in _values(mail, name)]
    found = set()
    for tags in map(_tags, wanted):
        try:
            records({}, _key_name(tags))
        except Wanted as one:
            found.add(one.question)
    return frozenset(found)


def signatures(raw: bytes, answers: Answers, now: datetime) -> tuple[Signature, ...]:
    """Every DKIM signature of a mail with its verdict at an instant, the topmost first."""
    mail = _parsed(raw)
    headers = [one for one in mail.headers if one[0].lower() == _SIGNATURE] if mail is not None else []
    return tuple(_verified(mail, header, answers, now) for header in headers[:MAX_SIGNATURES])


def _header(raw: bytes) -> bytes:
    """The header alone: dkimpy splits the body into lines, which costs most where nothing is verified yet."""
    return raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _parsed(raw: bytes) -> Any:
    try:
        return dkim.DKIM(raw, minkey=MIN_BITS)
    except Exception:  # noqa: BLE001  whatever dkimpy stumbles over
        return None


def _values(mail: Any, name: bytes) -> list[bytes]:
    return [value for known, value in mail.headers if known.lower() == name] if mail is not None else []


def _tags(value: bytes) -> dict[bytes, bytes]:
    try:
        return dict(parse_tag_value(value))
    except Exception:  # noqa: BLE001
        return {}


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").lower()


def _key_name(tags: dict[bytes, bytes]) -> str:
    return f"{_text(tags.get(b's', b''))}._domainkey.{_text(tags.get(b'd', b''))}"


def _covered(tags: dict[bytes, bytes]) -> list[bytes]:
    return [name.lower() for name in _COLON.split(tags.get(b"h", b""))]


def _verified(mail: Any, header: tuple[bytes, bytes], answers: Answers, now: datetime) -> Signature:
    tags = _tags(header[1])
    covers = _covered(tags)
    said = Signature(
        _text(tags.get(b"d", b""))[:253], _text(tags.get(b"s", b""))[:253], "fail", covers=frozenset(map(_text, covers))
    )
    why = _refused(tags, now)
    if not why:
        try:
            dkim.validate_signature_fields({name: value for name, value in tags.items() if name not in (b"t", b"x")})
            if mail.verify_sig(tags, covers, header, _key_lookup(answers)):
                return Signature(said.domain, said.selector, "pass", covers=said.covers)
            why = "the signature does not match the mail, or the key cannot be used"
        except Trouble as trouble:
            return Signature(said.domain, said.selector, "trouble", str(trouble), said.covers)
        except Exception as error:  # noqa: BLE001  dkimpy leaks binascii.Error, IndexError and more
            why = _short(error)
    return Signature(said.domain, said.selector, "fail", why, said.covers)


def _refused(tags: dict[bytes, bytes], now: datetime) -> str:
    """Why a signature is not even verified, '' when it is."""
    if not tags:
        return "it cannot be read"
    if b"l" in tags:
        return "l= leaves a part of the body unsigned"
    if b"from" not in _covered(tags):
        return "From is not among the signed headers"
    if tags.get(b"a", b"").endswith(b"-sha1"):
        return "SHA-1 is too weak (RFC 8301 3.1)"
    try:
        signed, expires = (int(tags[name]) if name in tags else None for name in (b"t", b"x"))
    except ValueError:
        return "t= or x= is no number"
    if expires is not None and expires < now.timestamp():
        return "it has expired (x=)"
    if signed is not None and signed > (now + SKEW).timestamp():
        return "it was made in the future (t=)"
    if signed is not None and expires is not None and expires < signed:
        return "it expired before it was made"
    return ""


def _key_lookup(answers: Answers) -> Any:
    """dkimpy's way to ask for a key record."""

    def look_up(name: bytes, timeout: float = 0) -> bytes | None:
        found = [one for one in records(answers, name.decode("ascii")) if b"p=" in one]
        # Several key records are undefined (RFC 6376 3.6.2.2): a mail is not verified by luck.
        return found[0] if len(found) == 1 else None

    return look_up


def _short(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:200].encode("ascii", "replace").decode()


def chain(raw: bytes, answers: Answers) -> Chain:
    """The ARC chain of a mail. Only one that holds from its first seal to its newest is a pass (RFC 8617 5.2)."""
    seals = [_tags(value) for value in _values(_parsed(raw), _SEAL)]
    if not seals:
        return Chain("none")
    if len(seals) > MAX_SEALS:
        return Chain("fail", f"more than {MAX_SEALS} seals")
    try:
        verdict, results, why = dkim.ARC(raw, minkey=MIN_BITS).verify(dnsfunc=_key_lookup(answers))
        # `ARC.domain` stays empty when a chain is verified: each seal names its own.
        sealers = tuple(_text(one["as-domain"]) for one in results)
        found = tuple(one["aar-value"].decode("utf-8", "replace") for one in results)
    except Trouble as trouble:
        return Chain("trouble", str(trouble), newest_sealer(raw))
    except Exception as error:  # noqa: BLE001
        return Chain("fail", _short(error))
    return Chain("pass" if verdict == dkim.CV_Pass else "fail", str(why)[:200], sealers, found)


def newest_sealer(raw: bytes) -> tuple[str, ...]:
    """The domain that claims the newest seal, not verified; () when there is none."""
    seals = [_tags(value) for value in _values(_parsed(_header(raw)), _SEAL)]
    numbered = [(int(one[b"i"]), _text(one.get(b"d", b""))) for one in seals if _INSTANCE.fullmatch(one.get(b"i", b""))]
    return (max(numbered)[1],) if numbered else ()
