"""Every conversation of tests/scenarios, played through the desk and its store."""

import pytest

from tests.scenario import Scenario, play, read_scenarios

ALL = list(read_scenarios())


@pytest.mark.parametrize("scenario", ALL, ids=[scenario.title for scenario in ALL])
def test_scenario(scenario: Scenario) -> None:
    play(scenario)
