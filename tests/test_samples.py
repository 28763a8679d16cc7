"""Every sample gets the answer that stands beside it."""

from pathlib import Path

import pytest

from tests.samples import stories, tell


@pytest.mark.parametrize("folder", stories(), ids=lambda folder: folder.name)
def test_story(folder: Path) -> None:
    told = list(tell(folder))
    assert told
    for path, said in told:
        assert said == path.with_suffix(".expect").read_text("utf-8"), path.name
