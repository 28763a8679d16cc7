"""What is asked of DNS, and what it said: values that the verification is given. Pure.

Rules of this file:
- An answer is complete or it is None: "there is nothing" is (), and trouble is never mistaken for it.
- Who verifies says what it lacks (`Wanted`) and is asked again once that is there. It never asks by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

# RFC 1035 2.3.4, with the underscores of RFC 8552.
_NAME: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})+", re.ASCII)


class Question(NamedTuple):
    """A name in lower case without a final dot, and a type: TXT, A, AAAA, MX, PTR."""

    name: str
    kind: str = "TXT"


# TXT: bytes, its strings joined. A, AAAA, PTR: text. MX: (preference, host).
Records = tuple[Any, ...]
Answers = Mapping[Question, Records | None]


class Wanted(Exception):
    """An answer that is not there yet."""

    def __init__(self, question: Question) -> None:
        super().__init__(question)
        self.question = question


class Trouble(Exception):
    """DNS did not answer, so nothing can be said."""

    def __init__(self, question: Question) -> None:
        super().__init__(f"DNS did not answer for {question.kind} {question.name}")


def records(answers: Answers, name: str, kind: str = "TXT") -> Records:
    """What DNS has for a name. Raises Wanted and Trouble; for what cannot be a name there is nothing."""
    question = Question(name.lower().removesuffix("."), kind)
    if _NAME.fullmatch(question.name) is None:
        return ()
    if question not in answers:
        raise Wanted(question)
    found = answers[question]
    if found is None:
        raise Trouble(question)
    return found
