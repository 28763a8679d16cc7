"""What OpenAPI promises is kept: schemathesis asks a running gateway for all that its document allows, and forbids.

Rules of this file: routes come from /openapi.json; what is not asked stands in schemathesis.toml, with its reason.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.api.conftest import Running, serving
from tests.conftest import STORES, empty_store
from tests.wire.test_main_path import settings_for

EXAMPLES: Final = int(os.environ.get("CONTRACT_EXAMPLES", "7"))  # of each operation and phase
SEED: Final = os.environ.get("CONTRACT_SEED", "1")  # make contract has more examples, and others each time
CONFIG: Final = Path(__file__).parent / "schemathesis.toml"


@pytest.fixture(params=STORES)
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """A gateway of its own: whatever names are made up here, no other test meets them."""
    with serving(settings_for(tmp_path, store={"url": empty_store(request.param, request, tmp_path)})) as one:
        yield one


@pytest.mark.timeout(60 + 10 * EXAMPLES)
def test_the_api_keeps_its_contract(
    gateway: Running, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    url = f"http://127.0.0.1:{gateway.gateway.http_port}/openapi.json"
    told = (
        "--header",
        f"x-api-key: {gateway.key('contract')}",
        "--max-examples",
        str(EXAMPLES),
        "--seed",
        SEED,
        "--continue-on-failure",
        "--request-timeout",  # 10 by default, and a disk that others use may hold up a commit for as long
        "30",
    )
    kept = ("--report", "json", "--report-json-path", str(report))
    command = (sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", url, *told, *kept)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(report.read_text())
    assert said["operations"]["tested"] == said["operations"]["total"] > 0
    assert said["test_cases"]["generated"] > 1000
    with capsys.disabled():
        print(f"\n{request.node.name}: {said['test_cases']['generated']} cases, seed {SEED}")
