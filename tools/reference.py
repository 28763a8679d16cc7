"""Files that are made from the code, so that they say what it does: `make generated`, or `python -m tools.reference`.

Rules of this file:
- A function for each file, in FILES; it returns the file's text. With --check nothing is written, and what differs is
  named (exit 1).
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from enum import EnumType
from pathlib import Path
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from gateway.kinds import Secret
from gateway.outline import Setting, sections, settings
from gateway.toml_text import key, literal
from tools import commands

ROOT: Final = Path(__file__).parent.parent
AGAIN: Final = "make generated"

EXAMPLE_HEAD: Final = f"""\
# Every setting of pal-gateway, with its default. As it stands this file changes nothing: take away the # in front of a
# setting to set it. Made from the code by `{AGAIN}`; pal-gateway config check says whether yours can be used.
#
# Each can stand in the environment, which wins: smtp.port is GATEWAY_SMTP__PORT, or, in a file of its own,
# GATEWAY_SMTP__PORT_FILE. Keep secrets there.
"""

SETTINGS_HEAD: Final = f"""\
# Settings

Made from the code by `{AGAIN}`; `gateway.example.toml` is the same as a file to begin with.

- **Precedence.** An option of the command (`--role`), then the environment, then the TOML file (`--config`, or
  `GATEWAY_CONFIG`), then the default. `pal-gateway config show` says which value is in force, and where it comes from.
- **Names.** A section is a table of the file, its name and two underscores in the environment: `port` under `[smtp]` is
  `GATEWAY_SMTP__PORT`. Upper and lower case are the same in the environment.
- **Lists** have commas between their words in the environment, or are JSON: `GATEWAY_ROLES=smtp,http`,
  `GATEWAY_METRICS__NETWORKS=10.0.0.0/8,192.168.0.0/16`, `GATEWAY_PLATFORM__JOINABLE='["google_meet", "zoom"]'`.
- **Tables** are JSON there; a whole section can be, too, and then settings of their own win over it. An entry of a
  table has a variable of its own: `GATEWAY_DOMAINS__ACME=meet.acme.example`,
  `GATEWAY_TARGETS__SCENARIO_MEETING__API_KEY=…`. Its name is then in lower case, of a-z, 0-9 and _ (not two in a row);
  the file takes any.
- **Secrets from files.** Any variable with `_FILE` behind it names a file that has the value:
  `GATEWAY_RELAY__PASSWORD_FILE=/run/secrets/relay`. It is a regular file of at most 64 kB and, unless JSON is in it,
  of one line; a newline at its end is left out. Both forms at once are an error. With systemd:
  `LoadCredential=relay:/etc/pal-gateway/relay` and
  `Environment=GATEWAY_RELAY__PASSWORD_FILE=%d/relay`.
  An account's entry in `domains` is the exception: `GATEWAY_DOMAINS__A_FILE` is the domain of the account `a_file`.
- **Mistakes.** A name that is no setting ends the start, and the nearest real one is named; so does a variable that
  begins with `GATEWAY_` and is none. `pal-gateway config check` has all mistakes at once, and what is likely one. On
  Kubernetes a Service that is called `gateway` puts such variables into every container of its namespace: call it
  otherwise, or set `enableServiceLinks: false`.
- **What is secret** is shown by no command and stands in no error: the settings so marked, and the password within an
  address.
"""


def example() -> str:
    """gateway.example.toml."""
    return EXAMPLE_HEAD + "\n".join(_example_lines()) + "\n"


def _example_lines() -> Iterator[str]:
    for one in settings().values():
        if len(one.path) == 1 and not one.is_table:
            yield from _example_of(one)
    for name, section in sections().items():
        yield from ("", f"[{name}]", *_comment(section.__doc__ or ""))
        for one in settings().values():
            if one.path[0] == name and len(one.path) == 2:
                yield from _example_of(one)
    for one in settings().values():
        if one.is_table:
            yield from ("", f"[{one.name}]", *_comment(_described(one)), "# For example:")
            yield from (f"#{key(name)} = {literal(entry)}" for name, entry in _first_example(one.field).items())


def _example_of(one: Setting) -> Iterator[str]:
    yield ""
    yield from _comment(_described(one))
    default, example = _plain(one.field), _first_example(one.field)
    if default is None:
        yield "# There is no default; for example:"
        yield f"#{one.path[-1]} = {literal(example)}"
    else:
        if example is not None and one.secret is not Secret.ALL:
            yield f"# For example: {one.path[-1]} = {literal(example)}"
        yield f"#{one.path[-1]} = {literal(default)}"


def _described(one: Setting) -> str:
    if not one.field.description:
        raise SystemExit(f"{one.name} has no description in gateway/settings.py.")
    return one.field.description


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(" ".join(text.split()), 116)]


def _first_example(field: FieldInfo) -> Any:
    return field.examples[0] if field.examples else None


def _plain(field: FieldInfo) -> Any:
    """The default as JSON has it."""
    return TypeAdapter(Any).dump_python(field.get_default(call_default_factory=True), mode="json")


def reference() -> str:
    """docs/reference/settings.md."""
    return "\n".join([SETTINGS_HEAD, *_reference_lines()]) + "\n"


def _reference_lines() -> Iterator[str]:
    yield from ("## At the top of the file", "")
    yield from _table([one for one in settings().values() if len(one.path) == 1 and not one.is_table])
    for name, section in sections().items():
        yield from ("", f"## `[{name}]`", "", " ".join((section.__doc__ or "").split()), "")
        yield from _table([one for one in settings().values() if one.path[0] == name and len(one.path) == 2])
    for one in settings().values():
        if one.is_table:
            yield from ("", f"## `[{one.name}]`", "", _described(one), "")
            yield from _entries(one)


def _table(some: list[Setting]) -> Iterator[str]:
    yield "| setting | type | default | variable | |"
    yield "|---|---|---|---|---|"
    for one in some:
        secret = ", secret" if one.secret is Secret.ALL else ""
        default = _plain(one.field)
        told = "–" if default in (None, "") else f"`{literal(default)}`"
        kind = _kind(one.field)
        yield f"| `{one.name}` | {kind}{secret} | {told} | `{one.variable}` | {_described(one)} |"


def _entries(table: Setting) -> Iterator[str]:
    variable = f"{table.variable}__NAME"
    if not table.entries:
        yield f"Each entry is a text; in the environment `{variable}`."
    else:
        yield "| setting | type | variable | |"
        yield "|---|---|---|---|"
        for name, field in table.entries.items():
            secret = ", secret" if Secret.ALL in field.metadata else ""
            told = f"`{table.name}.NAME.{name}` | {_kind(field)}{secret}, required | `{variable}__{name.upper()}`"
            yield f"| {told} | {field.description} |"
    yield from ("", "```toml", f"[{table.name}]")
    yield from (f"{key(name)} = {literal(entry)}" for name, entry in _first_example(table.field).items())
    yield "```"


_KINDS: Final[dict[Any, str]] = {bool: "true or false", int: "whole number", float: "number", Path: "path", str: "text"}


def _kind(field: FieldInfo) -> str:
    """What may be written, in words, with its limits."""
    kind = field.annotation
    if isinstance(kind, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if isinstance(kind, EnumType):
        return ", ".join(f"`{one.value}`" for one in kind)
    if get_origin(kind) is Literal:
        return ", ".join(f"`{one}`" for one in get_args(kind))
    if get_origin(kind) is tuple:
        return "list of networks" if "IPvAny" in str(kind) else "list of texts"
    return _KINDS[kind] + _limits(field)


def _limits(field: FieldInfo) -> str:
    known = {name: getattr(one, name) for one in field.metadata for name in ("ge", "gt", "le") if hasattr(one, name)}
    least = f"at least {known['ge']}" if "ge" in known else f"more than {known['gt']}" if "gt" in known else ""
    most = f"at most {known['le']}" if "le" in known else ""
    return "".join(f", {one}" for one in (least, most) if one)


FILES: Final[dict[str, Callable[[], str]]] = {
    "gateway.example.toml": example,
    "docs/reference/settings.md": reference,
    "docs/reference/commands.md": commands.page,
}


def differing() -> list[str]:
    """The files that are not what is made."""
    return [name for name, make in FILES.items() if not _is(ROOT / name, make())]


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text("utf-8") == text


def main() -> None:
    """Write the files, or with --check say which are to be."""
    names = differing()
    if "--check" in sys.argv[1:]:
        sys.exit(f"{', '.join(names)}: run {AGAIN}" if names else 0)
    for name in names:
        (ROOT / name).write_text(FILES[name](), "utf-8")
        print(f"{name} was written.")


if __name__ == "__main__":
    main()
