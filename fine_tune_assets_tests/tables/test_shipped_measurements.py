"""Shipped measurements are used only for exactly the inputs they were measured with."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.judging.__main__ import measure_judge as measure_agreement
from fine_tune_assets.judging.judges.judge_registry import judge_request
from fine_tune_assets.phi.__main__ import measure_scrub_recall as measure_recall
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import ScrubRecall
from fine_tune_assets.tables.shipped_measurements import load_shipped_table, save_shipped_table

EVALUATION = PROJECT_DIR / "data" / "evaluation"
ROW = {
    "labelled_set": "a", "measure": "masked_recall", "label": "all", "hits": 9, "total": 10, "value": 0.9, "low": 0.6,
    "high": 0.98, "scrubber_version": "v",
}  # fmt: skip


class MeasuredError(Exception):
    """A measurement was started."""


@pytest.fixture
def measuring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise MeasuredError

    monkeypatch.setattr("fine_tune_assets.phi.__main__.open_workers", refuse)
    monkeypatch.setattr("fine_tune_assets.judging.judges.human_agreement.measure_agreement", refuse)


def test_table_is_used_for_exactly_its_inputs(tmp_path: Path) -> None:
    table = table_from_rows([ROW], ScrubRecall.SCHEMA)
    save_shipped_table("scrub_recall", ["v", {"file": "hash"}], table, tmp_path)
    loaded = load_shipped_table("scrub_recall", ["v", {"file": "hash"}], tmp_path)
    assert loaded is not None
    assert loaded.equals(table)
    assert load_shipped_table("scrub_recall", ["v", {"file": "another"}], tmp_path) is None
    assert load_shipped_table("judge_agreement", ["v", {"file": "hash"}], tmp_path) is None


def recall_request(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    gold = [str(path) for path in sorted((EVALUATION / "phi").glob("*.jsonl"))]
    settings = asdict(replace(load_recipe("demo_smollm2").scrubber, **changes))
    return {"gold": gold, "output": str(tmp_path / "out.parquet"), "settings": settings}


@pytest.mark.usefixtures("measuring_fails")
def test_shipped_recall_matches_the_current_scrubber(tmp_path: Path) -> None:
    """If it fails, run `make shipped-measurements`; otherwise demos measure again and take longer."""
    measure_recall(recall_request(tmp_path), ignore_progress)
    assert pq.read_table(tmp_path / "out.parquet").num_rows > 50


@pytest.mark.usefixtures("measuring_fails")
def test_another_scrubber_or_labelled_set_is_measured(tmp_path: Path) -> None:
    """Metrics of one scrubber say nothing about another."""
    with pytest.raises(MeasuredError):
        measure_recall(recall_request(tmp_path, minimum_score=0.6), ignore_progress)
    request = recall_request(tmp_path)
    with pytest.raises(MeasuredError):
        measure_recall({**request, "gold": request["gold"][1:]}, ignore_progress)


def agreement_request(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    recipe = load_recipe("demo_smollm2")
    judge_inputs = judge_request(Settings(data_dir=tmp_path), recipe)
    request = {"labelled_sets": str(EVALUATION / "judge"), "own_ratings": "", "accept_score": recipe.judge.accept_score}
    return {**request, "judge": judge_inputs, "output": str(tmp_path / "out.parquet"), **changes}


@pytest.mark.usefixtures("measuring_fails")
def test_shipped_agreement_matches_the_current_judge(tmp_path: Path) -> None:
    measure_agreement(agreement_request(tmp_path), ignore_progress)
    assert pq.read_table(tmp_path / "out.parquet").num_rows > 5


@pytest.mark.usefixtures("measuring_fails")
def test_another_threshold_is_measured(tmp_path: Path) -> None:
    with pytest.raises(MeasuredError):
        measure_agreement(agreement_request(tmp_path, accept_score=6.5), ignore_progress)


@pytest.mark.slow
def test_shipped_recall_is_reproducible(tmp_path: Path) -> None:
    """The shipped rows of the smallest labelled set, compared value by value."""
    from fine_tune_assets.phi.measurement.recall import measure_recall as measure_sets
    from fine_tune_assets.phi.scrub_workers import open_workers

    gold = min((EVALUATION / "phi").glob("*.jsonl"), key=lambda path: path.stat().st_size)
    settings = load_recipe("demo_smollm2").scrubber
    with open_workers(settings, 1) as workers:
        measured = measure_sets([gold], workers, "v", ignore_progress).to_pylist()
    measure_recall(recall_request(tmp_path), ignore_progress)
    shipped = [row for row in pq.read_table(tmp_path / "out.parquet").to_pylist() if row["labelled_set"] == gold.stem]
    assert [{**row, "scrubber_version": "v"} for row in shipped] == measured
