"""Processes that are forked from one that has imported everything: a start costs a fifth of a new interpreter's."""

from __future__ import annotations

from multiprocessing import get_context
from typing import Final

FORKS: Final = get_context("forkserver")
FORKS.set_forkserver_preload(["tests.process.victim", "tests.commands.words"])
