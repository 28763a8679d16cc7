"""Reading the settings: a TOML file, then the environment, checked at start. Shell.

Rules of this file:
- All that is wrong is found, each as one sentence that says the mend; a misspelt name gets the nearest real one.
- A value that is wrong is left out, so that the others can be checked together.
- The value of a secret is in no sentence.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway import environment
from gateway.environment import Fault, Given, Origin
from gateway.kinds import STORE_URL, is_in_memory
from gateway.outline import Path, nearest, secret_of, sections, settings, shown, tables, without_password
from gateway.platforms import PLATFORMS
from gateway.settings import Settings, Smtp
from scheduler.request import CONVERSATION
from scheduler.targets import targets

Leaves = dict[Path, tuple[Any, Origin]]


class BadConfig(Exception):
    """The settings cannot be used; the message is one line that says the mend."""


@dataclass(frozen=True)
class Read:
    """The settings in force, what is wrong with them, and where each value comes from that is not a default."""

    settings: Settings
    faults: tuple[str, ...]
    origins: Mapping[Path, Origin]


def load(path: FilePath | None = None, roles: str | None = None) -> Settings:
    """The settings of a TOML file (none: defaults) and of the environment; `roles` win over both. Raises BadConfig."""
    found = read(path, roles, os.environ)
    if found.faults:
        first, *others = found.faults
        more = f" {len(others)} more: see pal-gateway config check." if others else ""
        raise BadConfig(first + more)
    return found.settings


def read(path: FilePath | None, roles: str | None, variables: Mapping[str, str]) -> Read:
    """The same with all that is wrong; what is, has its default."""
    given = [_file(path) if path is not None else Given(), environment.read(variables)]
    if roles is not None:
        given.append(Given([(("roles",), roles, Origin("option", "--role"))]))
    leaves: Leaves = {}
    for source in given:
        for place, value, origin in source.values:
            leaves.update(_leaves(place, value, origin))
    faults = [fault for source in given for fault in source.faults]
    made, wrong = _made(leaves)
    faults += wrong
    meant = {place for fault in faults if not fault.is_missing for place in fault.paths}
    faults = [fault for fault in faults if not (fault.is_missing and fault.paths[0] in meant)]
    known = {place for fault in faults for place in fault.paths}
    faults += [fault for fault in _together(made) if known.isdisjoint(fault.paths)]
    origins = {place: origin for place, (_, origin) in leaves.items()}
    return Read(made, tuple(dict.fromkeys(fault.sentence for fault in faults)), origins)


def _file(path: FilePath) -> Given:
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        return Given(faults=[Fault(f"The settings file {path} cannot be read: {error.strerror}.")])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Given(faults=[Fault(f"The settings file {path} is not TOML: {error}.")])
    return Given([((name,), value, Origin("file", path=str(path))) for name, value in values.items()])


def _leaves(place: Path, value: Any, origin: Origin) -> Iterator[tuple[Path, tuple[Any, Origin]]]:
    """A value, or those in it when it is a section, a table, or an entry of one."""
    is_empty_entry = value == {} and len(place) == 2
    if not isinstance(value, dict) or len(place) > _depth(place[0]) or is_empty_entry:
        yield place, (value, origin)
    else:
        for name, inner in value.items():
            yield from _leaves((*place, name), inner, origin)


def _depth(name: str) -> int:
    """How many names lead to the settings of a section or of a table's entry."""
    if name in tables():
        return 2 if tables()[name].entries else 1
    return 1 if name in sections() else 0


def _tree(leaves: Leaves) -> dict[str, Any]:
    """The values as the model takes them. What is no table stays, and is the fault."""
    tree: dict[str, Any] = {}
    for place, (value, _) in leaves.items():
        inner: Any = tree
        for name in place[:-1]:
            inner = inner.setdefault(name, {}) if isinstance(inner, dict) else inner
        if isinstance(inner, dict):
            inner[place[-1]] = value
    return tree


def _made(leaves: Leaves) -> tuple[Settings, list[Fault]]:
    """The settings of the values that are right, and what is wrong with the others."""
    faults: list[Fault] = []
    left = dict(leaves)
    while left:
        try:
            return Settings.model_validate(_tree(left)), faults
        except ValidationError as error:
            for one in error.errors(include_url=False, include_context=False):
                wrong = tuple(str(part) for part in one["loc"])
                culprits = _culprits(left, wrong) or _culprits(leaves, wrong)
                faults.append(_fault(one, wrong, [leaves[place][1] for place in culprits]))
                for place in culprits:
                    left.pop(place, None)
    return Settings(), faults


def _culprits(leaves: Iterable[Path], wrong: Path) -> list[Path]:
    """Which values an error is about: the one it names, or is in; of an entry where something is missing, all."""
    around = [place for place in leaves if wrong[: len(place)] == place or place[: len(wrong)] == wrong]
    return around or [place for place in leaves if place[: len(wrong) - 1] == wrong[:-1]]


def _fault(error: ErrorDetails, wrong: Path, origins: list[Origin]) -> Fault:
    """An error of the model as a sentence."""
    name = ".".join(wrong)
    if error["type"] == "extra_forbidden":
        return _unknown(wrong)
    paths = (wrong, wrong[:1], wrong[:2])
    if error["type"] == "missing":
        return Fault(f"{name} is missing.", paths, is_missing=True)
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return Fault(f"{name}: it is a table; write [{name}] and its settings beneath it.", paths)
    sentence = error["msg"] if error["type"] == "roles" else f"{name}: {error['msg'][0].lower()}{error['msg'][1:]}"
    variables = sorted(one.name for one in origins if one.kind in ("environment", "secret file"))
    return Fault(f"{sentence}{_not(wrong, error)}{f' (from {variables[0]})' if variables else ''}.", paths)


def _unknown(wrong: Path) -> Fault:
    """The fault of a name that is none. In quotes a dot is part of a name."""
    name = ".".join(wrong)
    *above, last = path = tuple(name.split("."))
    if any("." in one for one in wrong) and (path in settings() or (above and above[0] in tables())):
        return Fault(f'"{name}" is not a setting; write {last} beneath [{".".join(above)}].', (path,))
    meant = nearest(wrong)
    told = f"; the nearest is {'.'.join(meant)}" if meant else ""
    return Fault(f"{name} is not a setting{told}.", (meant,) if meant else ())


def _not(wrong: Path, error: ErrorDetails) -> str:
    """What was written, where it may be said."""
    value = error.get("input")
    if error["type"] == STORE_URL or isinstance(value, dict) or (secret_of(wrong) and not isinstance(value, str)):
        return ""
    text = shown(wrong, str(value).lower() if isinstance(value, bool) else value)  # as TOML has it
    return "" if text is None else f", not {text!r}" if isinstance(value, str) else f", not {text}"


def _together(made: Settings) -> Iterator[Fault]:
    """What does not fit together, or not with a gateway that is to keep something."""
    if is_in_memory(made.store.url):
        yield Fault(
            f"store.url: {without_password(made.store.url)} keeps nothing; write sqlite:///PATH.", (("store", "url"),)
        )
    if made.platform.mirror_pals and not made.platform.base_url:
        yield Fault(
            "platform.mirror_pals: there is nothing to mirror PALs at without platform.base_url.",
            (("platform", "mirror_pals"), ("platform", "base_url")),
        )
    if made.senders.auth_results and not made.senders.pinned_peers:
        yield Fault(
            "senders.auth_results needs senders.pinned_peers: the networks of your own mail servers, "
            "because anybody else can write Authentication-Results.",
            (("senders", "auth_results"), ("senders", "pinned_peers")),
        )
    yield from _known(("platform", "joinable"), "a platform", made.platform.joinable, [one.name for one in PLATFORMS])
    yield from _known(("targets",), "a further target", made.targets, sorted(targets().keys() - {CONVERSATION}))
    yield from _tls(made.smtp)


def _known(path: Path, what: str, given: Iterable[str], known: list[str]) -> Iterator[Fault]:
    from difflib import get_close_matches

    for one in sorted(set(given) - set(known)):
        close = get_close_matches(one, known, n=1)
        nearest_one = f"; the nearest is {close[0]}" if close else ""
        yield Fault(f"{'.'.join(path)}: {one!r} is not {what}{nearest_one}.", (path,))


def _tls(smtp: Smtp) -> Iterator[Fault]:
    both = (("smtp", "tls_certificate"), ("smtp", "tls_key"))
    if (smtp.tls_certificate is None) != (smtp.tls_key is None):
        missing = "smtp.tls_certificate" if smtp.tls_certificate is None else "smtp.tls_key"
        yield Fault(f"{missing} is missing: a certificate and its key go together.", both)
    if smtp.tls_port is not None and smtp.tls_certificate is None:
        yield Fault("smtp.tls_port needs smtp.tls_certificate and smtp.tls_key.", both)
