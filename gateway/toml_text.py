"""Settings written as TOML, which the standard library only reads. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def literal(value: Any) -> str:
    """A text, number, boolean, list or (inline) table."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            # JSON's escapes are TOML's; DEL and what a terminal would obey are escaped, too.
            text = json.dumps(value, ensure_ascii=False)
            return "".join(one if one.isprintable() else _escaped(one) for one in text)
        case float() if value.is_integer():
            return repr(int(value))
        case int() | float():
            return repr(value)
        case Mapping():
            return "{ " + ", ".join(f"{key(name)} = {literal(one)}" for name, one in value.items()) + " }"
        case _:
            return "[" + ", ".join(map(literal, value)) + "]"


def key(name: str) -> str:
    """A name, in quotes where it needs them."""
    return name if _BARE.fullmatch(name) else literal(name)


def _escaped(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
