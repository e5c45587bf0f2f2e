"""Runs against servers that fail, one way at a time: all rows are right, and no more time is lost than the fault takes.

The faults are those of benchmarks/faults.py, over HTTP, with fewer texts. Were requests to stop while some fail, or
their number to fall for nothing, each would take many times as long: 240 texts one by one are 36 seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.documents import write_documents
from benchmarks.faults import Outcome, Scenario, Server, run, scenarios
from hub_instructpt.engines import open_engine
from hub_instructpt.runs.manifest import Settings
from hub_instructpt.runs.runner import augment_source
from hub_instructpt.runs.sources import open_files

NUMBER, PERMITS, DELAY, GONE = 240, 12, 0.15, 2.0
SETTINGS = Settings(
    text_column="text", keep_columns=[], num_shots=1, max_new_tokens=400, temperature=0.0, top_p=1.0,
    rows_per_shard=60, limit=None, seed=0,
)  # fmt: skip
SCENARIOS = scenarios(DELAY, PERMITS, GONE)


def in_this_process(documents: Path, folder: Path, url: str, timeout: float, rows_per_shard: int) -> None:
    augment_source(open_files([documents], "text", []), open_engine(url, timeout_seconds=timeout), SETTINGS, folder)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with closing(Server(PERMITS, DELAY)) as started:
        yield started


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("documents") / "documents.jsonl"
    write_documents(NUMBER, path)
    return path


@pytest.fixture(scope="module")
def faultless(server: Server, documents: Path) -> Outcome:
    return run(SCENARIOS[0], server, documents, NUMBER, documents.parent / "run", in_this_process)


def test_without_a_fault_every_text_is_asked_once(faultless: Outcome) -> None:
    assert len(faultless.rows) == faultless.requests == NUMBER
    assert all(len(pairs) == 2 for pairs in faultless.rows.values())


@pytest.mark.parametrize("scenario", SCENARIOS[1:], ids=lambda scenario: scenario.name)
def test_a_fault_costs_time_in_proportion_and_no_row(
    scenario: Scenario, server: Server, documents: Path, faultless: Outcome, tmp_path: Path
) -> None:
    outcome = run(scenario, server, documents, NUMBER, tmp_path / "run", in_this_process)
    assert outcome.failed == 0
    assert outcome.rows == faultless.rows
    assert scenario.gone or scenario.name.startswith("1 in 100") or outcome.requests > NUMBER
    assert outcome.requests < 1.6 * NUMBER
    lost, least = outcome.seconds - faultless.seconds, outcome.perfect - faultless.perfect
    # The last to be asked again may wait for twice a stall, or for the longest pause after a server came back.
    assert lost < 2 * least + 8
