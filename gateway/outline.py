"""Which settings there are, by name, as the model has them: `smtp.port`, `domains`, `targets.KIND.api_key`. Shell.

Rules of this file:
- A name is a path here (`("smtp", "port")`); a table is one whose entries the operator names.
- What nobody may read does not leave by `shown`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, get_args, get_origin

from pydantic.fields import FieldInfo

from gateway.kinds import Secret
from gateway.settings import PREFIX, Section, Settings

Path = tuple[str, ...]
FILE: Final = ("config",)  # what the variable is made of that names the settings file, see `commands.common`

_PARAMETER: Final = re.compile(r"(?i)([?&][a-z_]*(?:password|passwd|secret|token|key)=)[^&#]*")
HIDDEN: Final = "…"


@dataclass(frozen=True)
class Setting:
    """One setting or table."""

    path: Path
    field: FieldInfo

    @property
    def name(self) -> str:
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        return variable(self.path)

    @property
    def is_table(self) -> bool:
        return get_origin(self.field.annotation) is dict

    @property
    def is_list(self) -> bool:
        return get_origin(self.field.annotation) is tuple

    @property
    def entries(self) -> dict[str, FieldInfo]:
        """The settings of each entry of a table; none where an entry is one value."""
        inner = get_args(self.field.annotation)[1] if self.is_table else None
        return dict(inner.model_fields) if isinstance(inner, type) and issubclass(inner, Section) else {}

    @property
    def secret(self) -> Secret | None:
        return _marker(self.field)


def _marker(field: FieldInfo) -> Secret | None:
    return next((one for one in field.metadata if isinstance(one, Secret)), None)


def section_of(field: FieldInfo) -> type[Section] | None:
    """The section that a field of `Settings` is."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Section) else None


@lru_cache
def sections() -> dict[str, type[Section]]:
    """The sections by their names, in the order of the model."""
    found = ((name, section_of(field)) for name, field in Settings.model_fields.items())
    return {name: section for name, section in found if section is not None}


@lru_cache
def settings() -> dict[Path, Setting]:
    """All settings and tables, in the order of the model."""

    def walk() -> Iterator[Setting]:
        for name, field in Settings.model_fields.items():
            section = section_of(field)
            if section is None:
                yield Setting((name,), field)
            else:
                yield from (Setting((name, inner), one) for inner, one in section.model_fields.items())

    return {one.path: one for one in walk()}


def tables() -> dict[str, Setting]:
    """The tables by their names."""
    return {one.name: one for one in settings().values() if one.is_table}


def variable(path: Path) -> str:
    """What a setting is called in the environment."""
    return PREFIX + "__".join(path).upper()


FILE_VARIABLE: Final = variable(FILE)


def secret_of(path: Path) -> Secret | None:
    """What is hidden of what stands at a path, also of a whole section, and of an item of a list."""
    if path[:1] in settings():
        table = settings()[path[:1]]
        if not table.entries:
            return table.secret
        return _marker(table.entries[path[2]]) if len(path) > 2 and path[2] in table.entries else Secret.ALL
    if path[:2] in settings():
        return settings()[path[:2]].secret
    return Secret.ALL  # a section, or what we do not know


def shown(path: Path, value: Any) -> str | None:
    """A value as text without what nobody may read; None: nothing of it."""
    secret = secret_of(path)
    if secret is Secret.ALL:
        return None
    return without_password(str(value)) if secret is Secret.WITHIN else str(value)


def without_password(address: str) -> str:
    """An address without the password that may be in it, also when it is not written as one should."""
    head, at, rest = address.rpartition("@")
    if at and "://" in head:
        scheme, _, login = head.partition("://")
        user, colon, _ = login.partition(":")
        head = f"{scheme}://{user}{colon and colon + HIDDEN}"
    return _PARAMETER.sub(rf"\g<1>{HIDDEN}", head + at + rest)


def nearest(path: Path, *further: Path) -> Path | None:
    """The real setting that is most like a name that is none, or one of the further names."""
    from difflib import SequenceMatcher

    def alike(one: str, other: str) -> float:
        return SequenceMatcher(None, one.lower(), other.lower()).ratio()

    def score(known: Path) -> float:
        last = 0.9 * alike(path[-1], known[-1]) + 0.1 * alike(path[0], known[0])
        return max(alike(".".join(path), ".".join(known)), last if len(known) > 1 else 0)

    best = max((*_candidates(path), *further), key=score)
    return best if score(best) >= 0.6 else None


def _candidates(path: Path) -> Iterable[Path]:
    """What may have been meant: settings, sections, tables, and the settings of a table's entry."""
    yield from ((name,) for name in sections() if len(path) == 1)
    yield from settings()
    for name, table in tables().items():
        yield from ((name, path[1], inner) for inner in table.entries if all(path[:2]) and len(path) > 1)
