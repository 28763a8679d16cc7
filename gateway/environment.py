"""The settings that stand in the environment: GATEWAY_SMTP__PORT, and GATEWAY_RELAY__PASSWORD_FILE for one that is kept
in a file of its own. Shell.

Rules of this file:
- A name that is no setting is a fault, for nobody else would say it.
- Tables and whole sections are JSON; lists are, too, or words with commas between them. What cannot be read is a fault,
  and the others are read all the same.
- The value of a variable is in no sentence, unless it is no secret.
"""

from __future__ import annotations

import json
import os
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path as FilePath
from typing import Any, Final

from gateway.kinds import words
from gateway.outline import FILE, FILE_VARIABLE, Path, nearest, secret_of, sections, settings, tables, variable
from gateway.settings import PREFIX

SUFFIX: Final = "_file"
MOST_BYTES: Final = 64 * 1024  # of a file with one setting


@dataclass(frozen=True)
class Fault:
    """What is wrong, in one sentence, and with which settings. What is missing may be there under another name."""

    sentence: str
    paths: tuple[Path, ...] = ()
    is_missing: bool = False


@dataclass(frozen=True)
class Origin:
    """Where a value comes from: `default`, `file`, `environment`, `secret file` or `option`.

    `name` is the variable or the option, `path` the file.
    """

    kind: str = "default"
    name: str = ""
    path: str = ""

    def __str__(self) -> str:
        return "=".join(filter(None, (self.name, self.path))) or self.kind


@dataclass
class Given:
    """What a source has: values with their origins, the shallow ones first, and what is wrong with it."""

    values: list[tuple[Path, Any, Origin]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


class _Form(Enum):
    """How a setting is written; the value says it to who wrote it otherwise."""

    TEXT = "text"
    LIST = 'a,b or as JSON, for example ["a", "b"]'
    JSON = 'JSON, for example {"a": "b"}'


@dataclass(frozen=True)
class _Place:
    path: Path
    form: _Form
    in_file: bool


def read(environment: Mapping[str, str]) -> Given:
    """The settings of an environment."""
    given = Given()
    seen: dict[Path, str] = {}
    for name in sorted(environment, key=lambda one: (one.count("__"), one)):
        if not name.upper().startswith(PREFIX) or name.upper() == FILE_VARIABLE:
            continue
        path = tuple(name[len(PREFIX) :].lower().split("__"))
        place = _place(path)
        if place is None:
            given.faults.append(_unknown(name, path))
        elif place.path in seen:
            both = f"{seen[place.path]} and {name} both give {'.'.join(place.path)}; keep one of them."
            given.faults.append(Fault(both, (place.path,)))
        else:
            seen[place.path] = name
            _take(given, name, environment[name], place)
    return given


def _take(given: Given, name: str, text: str, place: _Place) -> None:
    origin = Origin("environment", name)
    if place.in_file:
        origin = Origin("secret file", name, text)
        try:
            text = _contents(text, is_json=place.form is not _Form.TEXT)
        except OSError as error:
            given.faults.append(Fault(f"{name}: {text} cannot be read: {error.strerror}.", (place.path,)))
            return
        except _Unfit as error:
            given.faults.append(Fault(f"{name}{f': {text}' * bool(text)} {error}.", (place.path,)))
            return
    try:
        given.values.append((place.path, _value(text, place.form), origin))
    except ValueError:
        seen = "" if place.in_file or secret_of(place.path) else f", not {text!r}"
        given.faults.append(Fault(f"{name} is written as {place.form.value}{seen}.", (place.path,)))


def _value(text: str, form: _Form) -> Any:
    """What a text stands for. Raises ValueError."""
    if form is _Form.TEXT:
        return text
    if form is _Form.LIST and text.isprintable() and not text.lstrip().startswith(("[", "{", '"')):
        some = words(text)
        if all(some):
            return some
    return json.loads(text)


class _Unfit(Exception):
    """A file has no value; the message goes on after its name."""


def _contents(name: str, *, is_json: bool) -> str:
    """The text in a file, without the newline that ends it. Raises OSError and _Unfit."""
    try:
        text = _bytes(name).decode("utf-8")
    except UnicodeDecodeError:
        raise _Unfit("is not text in UTF-8") from None
    if text.startswith("\N{BYTE ORDER MARK}"):
        raise _Unfit("begins with a byte order mark; save it without")
    text = text.removesuffix("\n").removesuffix("\r")
    if not is_json and not {"\n", "\r"}.isdisjoint(text):
        raise _Unfit("has more than one line")
    if not is_json and any(unicodedata.category(char) == "Cc" for char in text):
        raise _Unfit("is not text: there are control characters in it")
    return text


def _bytes(name: str) -> bytes:
    """What is in a regular file; anything else may have no end."""
    if not name or "\0" in name:
        raise _Unfit("names no file")
    path = FilePath(name)
    with open(path, "rb", opener=_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise _Unfit("is not a regular file")
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise _Unfit(f"is larger than {MOST_BYTES // 1024} kB")
    return content


def _at_once(name: str, flags: int) -> int:
    """Opens without waiting for somebody to write to a FIFO."""
    return os.open(name, flags | os.O_NONBLOCK)


def _place(path: Path) -> _Place | None:
    """What a variable stands for; a setting whose own name ends in _file is that setting."""
    if (found := _form_at(path)) is not None:
        return _Place(path, found, in_file=False)
    if path[-1].endswith(SUFFIX):
        inner = (*path[:-1], path[-1].removesuffix(SUFFIX))
        if (found := _form_at(inner)) is not None:
            return _Place(inner, found, in_file=True)
    return None


def _form_at(path: Path) -> _Form | None:
    """How what stands at a path is written; None: nothing can stand there."""
    if path in settings():
        one = settings()[path]
        return _Form.JSON if one.is_table else _Form.LIST if one.is_list and one.name != "roles" else _Form.TEXT
    if len(path) == 1:
        return _Form.JSON if path[0] in sections() else None
    table = tables().get(path[0])
    if table is None:
        return None
    if not table.entries:
        return _Form.TEXT  # an account, whatever it is called
    if len(path) == 2:
        return _Form.JSON if "" not in path else None
    return _Form.TEXT if len(path) == 3 and path[2] in table.entries else None


def _unknown(name: str, path: Path) -> Fault:
    """The fault of a variable that is none; the nearest one has _FILE where this one has."""
    in_file = path[-1].endswith(SUFFIX)
    meant = nearest((*path[:-1], path[-1].removesuffix(SUFFIX)) if in_file else path, FILE)
    if meant is None:
        return Fault(f"{name} is not a setting.")
    suffix = SUFFIX.upper() if in_file and meant != FILE else ""
    return Fault(f"{name} is not a setting; the nearest is {variable(meant)}{suffix}.", (meant,))
