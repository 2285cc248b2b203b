"""The bundled model answers questions to the sample's documents in the real workers, and nothing runs without retrieval."""

import json
import shutil
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.core.fingerprints import fingerprint_folder
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.defs.platform.resources import Installation, Worker, parquet_io_manager
from fine_tune_assets.defs.s01_raw_reports.knowledge_documents import knowledge_chunks
from fine_tune_assets.defs.s07_judge_scores.document_answers import document_answers
from fine_tune_assets.judging.verdicts.metric_families import DOCUMENT_METRICS, document_metrics
from fine_tune_assets.tables.judging_rows import DocumentAnswer
from fine_tune_assets.tables.record_classes import iter_records
from fine_tune_assets_tests.conftest import _keep_lines, write_recipe
from fine_tune_assets_tests.judging.evaluation.small_adapters import small_adapter
from fine_tune_assets_tests.lineage.stored_data import filled

QUESTION = {
    "question": "How many days of paid time off a year do full-time staff have?",
    "source": "paid-time-off.md",
    "contains": "20 days",
}


def _materialize(instance: dg.DagsterInstance, base: Path, adapter: Path) -> Any:
    fingerprint = fingerprint_folder(base) if base.is_dir() else "base-1"
    adapter_id = fingerprint_folder(adapter) if adapter.is_dir() else "adapter-1"
    trained = {
        "adapter_id": adapter_id, "base_fingerprint": fingerprint, "folder": str(adapter), "method": "lora",
        "base_kl_divergence": 0.5, "first_validation_loss": 2.0, "best_validation_loss": 1.0,
    }  # fmt: skip

    @dg.asset
    def adapters() -> Any:
        return filled("adapters", [trained])

    @dg.asset
    def base_models() -> Any:
        return filled("base_models", [{"fingerprint": fingerprint, "folder": str(base)}])

    resources = {"installation": Installation(), "worker": Worker(), "io_manager": parquet_io_manager}
    done = dg.materialize(
        [adapters, base_models, knowledge_chunks, document_answers], instance=instance, resources=resources
    )
    assert done.success
    return Installation().stored("document_answers").table()


@pytest.mark.slow
def test_candidate_and_incumbent_answer_from_the_documents(
    installation_dir: Path, instance: dg.DagsterInstance, smollm2: Path, tmp_path: Path
) -> None:
    """The installation's own question comes first, then a bundled one; each with its passage and without it."""
    shutil.copytree(PROJECT_DIR / "data" / "knowledge", installation_dir / "knowledge")
    _keep_lines(installation_dir / "evaluation" / "abilities" / "pubmed_qa.jsonl", 6)
    own = installation_dir / "evaluation" / "retrieval" / "own_questions.jsonl"
    own.parent.mkdir()
    own.write_text(json.dumps(QUESTION), encoding="utf-8")
    write_recipe(
        installation_dir,
        retrieval={"enabled": True},
        judge={"test_examples": 2, "max_new_tokens": 8, "batch_size": 4},
    )
    table = _materialize(instance, smollm2, small_adapter(tmp_path / "adapter", smollm2, 3))
    rows = list(iter_records(DocumentAnswer, table))
    assert len(rows) == 8
    assert {row.model for row in rows} == {"adapter", "base"}
    assert {row.document for row in rows} == {"paid-time-off.md", "abstract-0"}
    assert {row.is_grounded for row in rows} <= {True, False}
    assert all(row.answer for row in rows if row.model == "base")
    metrics = document_metrics(table, fingerprint_folder(smollm2), 0.1)
    assert [(metric.name, metric.items) for metric in metrics] == [(name, 2) for name in DOCUMENT_METRICS]
    assert all(metric.difference is not None for metric in metrics)


def test_without_retrieval_nothing_is_asked(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """No model is loaded: the folders do not exist."""
    assert not Installation().recipe.retrieval.enabled
    table = _materialize(instance, installation_dir / "gone", installation_dir / "gone")
    assert table.num_rows == 0
