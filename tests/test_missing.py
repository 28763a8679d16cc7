"""A peer that is not installed is a skip on a developer's machine, and a failure on CI."""

from __future__ import annotations

import pytest

from tests.conftest import not_here


def test_elsewhere_it_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="EDS: no bus"):
        not_here("EDS: no bus")


def test_on_ci_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="EDS: no bus"):
        not_here("EDS: no bus")
