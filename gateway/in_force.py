"""The settings in force, each with where it comes from, for people (TOML) and programs (JSON). Shell.

Rules of this file: what nobody may read is left out, and the line that would hold it is a comment; so what is read back
never has another value than the one in force.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.config import Read
from gateway.environment import Origin
from gateway.kinds import Secret
from gateway.outline import HIDDEN, Path, secret_of, settings, without_password
from gateway.toml_text import key, literal


@dataclass(frozen=True)
class Line:
    """One setting; `value` is None where there is none, and as far as it may be read where it is `hidden`."""

    path: Path
    value: Any
    origin: Origin
    is_hidden: bool = False

    def as_json(self) -> dict[str, Any]:
        known = {"setting": ".".join(self.path), "value": self.value, "hidden": self.is_hidden}
        return {**known, "source": self.origin.kind, "variable": self.origin.name, "file": self.origin.path}

    def as_toml(self) -> str:
        origin = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in str(self.origin))
        name = key(self.path[-1])
        if self.value is None:
            return f"# {name} is not set"
        if self.is_hidden:
            return f"# {name} = {literal(self.value)}  # hidden; {origin}"
        return f"{name} = {literal(self.value)}  # {origin}"


def in_force(found: Read) -> list[Line]:
    """All settings in the order of the model, and each entry of the tables."""
    return [_line(found, path, value) for path, value in _values(found)]


def _values(found: Read) -> Iterator[tuple[Path, Any]]:
    values = found.settings.model_dump(mode="json")
    for one in settings().values():
        value = values[one.path[0]] if len(one.path) == 1 else values[one.path[0]][one.path[1]]
        if not one.is_table:
            yield one.path, value
            continue
        for name, entry in value.items():
            if one.entries:
                yield from (((*one.path, name, inner), kept) for inner, kept in entry.items())
            else:
                yield (*one.path, name), entry


def _line(found: Read, path: Path, value: Any) -> Line:
    origin = found.origins.get(path, Origin())
    field = settings()[path].field if path in settings() else None
    if not isinstance(value, str) or (field is not None and value == field.default):
        return Line(path, value, origin)
    secret = secret_of(path)
    told = HIDDEN if secret is Secret.ALL else without_password(value) if secret else value
    return Line(path, told, origin, is_hidden=told != value)


def as_toml(lines: list[Line]) -> Iterator[str]:
    """The file's lines, with a heading for each section."""
    heading: Path = ()
    for line in lines:
        if line.path[:-1] != heading:
            heading = line.path[:-1]
            yield ""
            yield f"[{'.'.join(map(key, heading))}]"
        yield line.as_toml()
