"""Figures that come with the repository stand for exactly what they were measured with."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.judging.__main__ import measure as measure_agreement
from fine_tune_assets.judging.judges.registry import judge_request
from fine_tune_assets.phi.__main__ import measure as measure_recall
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.phi import ScrubRecall
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.tables.shipped_measurements import ship_table, shipped_table

EVALUATION = PROJECT_DIR / "data" / "evaluation"
ROW = {
    "labelled_set": "a", "measure": "masked_recall", "label": "all", "hits": 9, "total": 10, "value": 0.9, "low": 0.6,
    "high": 0.98, "scrubber_version": "v",
}  # fmt: skip


class MeasuredError(Exception):
    """Somebody measures."""


@pytest.fixture
def measuring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise MeasuredError

    monkeypatch.setattr("fine_tune_assets.phi.__main__.open_workers", refuse)
    monkeypatch.setattr("fine_tune_assets.judging.judges.agreement.measure_agreement", refuse)


def test_a_table_is_taken_for_exactly_what_decided_it(tmp_path: Path) -> None:
    table = table_of([ROW], ScrubRecall.SCHEMA)
    ship_table("scrub_recall", ["v", {"file": "hash"}], table, tmp_path)
    kept = shipped_table("scrub_recall", ["v", {"file": "hash"}], tmp_path)
    assert kept is not None
    assert kept.equals(table)
    assert shipped_table("scrub_recall", ["v", {"file": "another"}], tmp_path) is None
    assert shipped_table("judge_agreement", ["v", {"file": "hash"}], tmp_path) is None


def recall_request(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    gold = [str(path) for path in sorted((EVALUATION / "phi").glob("*.jsonl"))]
    settings = asdict(replace(load_recipe("demo_smollm2").scrub, **changes))
    return {"gold": gold, "output": str(tmp_path / "out.parquet"), "settings": settings}


@pytest.mark.usefixtures("measuring_fails")
def test_the_shipped_recall_is_that_of_the_present_scrubber(tmp_path: Path) -> None:
    """`make shipped-measurements` was forgotten after a change of scrubber or labelled set: demos take longer."""
    measure_recall(recall_request(tmp_path), silent)
    assert pq.read_table(tmp_path / "out.parquet").num_rows > 50


@pytest.mark.usefixtures("measuring_fails")
def test_another_scrubber_or_labelled_set_is_measured(tmp_path: Path) -> None:
    """Figures of one scrubber say nothing about another one."""
    with pytest.raises(MeasuredError):
        measure_recall(recall_request(tmp_path, minimum_score=0.6), silent)
    request = recall_request(tmp_path)
    with pytest.raises(MeasuredError):
        measure_recall({**request, "gold": request["gold"][1:]}, silent)


def agreement_request(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    judge = load_recipe("demo_smollm2").judge
    asked = judge_request(Settings(data_dir=tmp_path), judge)
    request = {"labelled_sets": str(EVALUATION / "judge"), "own_ratings": "", "accept_score": judge.accept_score}
    return {**request, "judge": asked, "output": str(tmp_path / "out.parquet"), **changes}


@pytest.mark.usefixtures("measuring_fails")
def test_the_shipped_agreement_is_that_of_the_present_judge(tmp_path: Path) -> None:
    measure_agreement(agreement_request(tmp_path), silent)
    assert pq.read_table(tmp_path / "out.parquet").num_rows > 5


@pytest.mark.usefixtures("measuring_fails")
def test_another_threshold_is_measured(tmp_path: Path) -> None:
    with pytest.raises(MeasuredError):
        measure_agreement(agreement_request(tmp_path, accept_score=6.5), silent)


@pytest.mark.slow
def test_the_shipped_recall_is_what_one_measures(tmp_path: Path) -> None:
    """On the smallest labelled set: the shipped rows of it, figure by figure."""
    from fine_tune_assets.phi.measurement.recall import measure_recall as measure_sets
    from fine_tune_assets.phi.workers import open_workers

    gold = min((EVALUATION / "phi").glob("*.jsonl"), key=lambda path: path.stat().st_size)
    settings = load_recipe("demo_smollm2").scrub
    with open_workers(settings, 1) as workers:
        measured = measure_sets([gold], workers, "v", silent).to_pylist()
    measure_recall(recall_request(tmp_path), silent)
    shipped = [row for row in pq.read_table(tmp_path / "out.parquet").to_pylist() if row["labelled_set"] == gold.stem]
    assert [{**row, "scrubber_version": "v"} for row in shipped] == measured
