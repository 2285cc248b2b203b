"""The code location: it loads without heavy libraries, and documents every asset, check and sensor."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from fine_tune_assets.core.paths import PACKAGE_DIR, PROJECT_DIR
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.platform.recipe_versions import section_version
from fine_tune_assets.defs.s06_adapters.adapters import GPU
from fine_tune_assets.tables.asset_tables import AUXILIARY_TABLES, TABLES

HEAVY = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "pandas",
    "alembic",
    "cyclonedx",
    "presidio_analyzer",
    "spacy",
    "llama_cpp",
    "lxml",
    "docx",
    "pypdfium2",
    "ray",
)
GROUPS = [
    "s01_raw_reports",
    "s02_scrubbed_reports",
    "s03_unique_reports",
    "s04_approved_examples",
    "s05_instruction_sets",
    "s06_adapters",
    "s07_judge_scores",
    "s08_merged_weights",
    "s09_served_models",
    "s10_corrections",
]
GRAPH: AssetGraph = defs.resolve_asset_graph()
NODES: dict[str, Any] = {key.to_user_string(): GRAPH.get(key) for key in sorted(GRAPH.get_all_asset_keys())}
EXECUTABLE = [name for name, node in NODES.items() if node.is_executable]


def _run(home: Path, *command: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "DAGSTER_HOME": str(home)}
    return subprocess.run(command, cwd=PROJECT_DIR, env=environment, capture_output=True, text=True, timeout=120)


def test_loading_the_definitions_takes_no_heavy_library(tmp_path: Path) -> None:
    """Each step process loads them again: trl alone costs 14 s."""
    program = (
        "import sys; import fine_tune_assets.definitions; "
        f"print(','.join(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = _run(tmp_path, sys.executable, "-c", program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_group_names_sort_in_the_order_of_the_stages() -> None:
    """Dagster sorts groups by name."""
    assert sorted({node.group_name for node in NODES.values()}) == GROUPS


def test_no_stage_reads_from_a_later_one() -> None:
    """Otherwise the Dagster UI draws the ten groups in another order. Users' corrections come back through an external asset."""
    back = {
        (parent.to_user_string(), name)
        for name, node in NODES.items()
        for parent in node.parent_keys
        if GRAPH.get(parent).group_name > node.group_name
    }
    assert back == set()


@pytest.mark.parametrize("name", NODES)
def test_every_asset_says_what_it_is_whose_it_is_and_of_what_kind(name: str) -> None:
    """The UI is read by people who do not program."""
    node = NODES[name]
    assert (node.description or "").endswith(".")
    assert node.owners
    assert node.kinds
    assert node.group_name in GROUPS


@pytest.mark.parametrize("name", EXECUTABLE)
def test_every_table_has_its_schema_with_the_meaning_of_each_column(name: str) -> None:
    """Every column needs a description."""
    shown = NODES[name].metadata["dagster/column_schema"]
    columns = getattr(shown, "value", shown).columns
    assert [column.name for column in columns] == TABLES[name].names
    assert [column.name for column in columns if not column.description] == []


def test_every_schema_belongs_to_an_asset() -> None:
    """A schema without an asset is dead code. An auxiliary table belongs to the asset whose step stores it."""
    assert set(EXECUTABLE) | set(AUXILIARY_TABLES) == set(TABLES)
    assert set(AUXILIARY_TABLES.values()) <= set(EXECUTABLE)


@pytest.mark.parametrize("name", [name for name in EXECUTABLE if name != "phi_taggers"])
def test_every_asset_has_an_automation_condition(name: str) -> None:
    """Otherwise it would have to be materialized by hand."""
    assert NODES[name].automation_condition is not None


def test_external_assets_are_exactly_the_sources() -> None:
    """A sensor reports each of them."""
    assert set(NODES) - set(EXECUTABLE) == {
        "ability_questions",
        "base_model_files",
        "corrections",
        "drafting_models",
        "erased_subjects",
        "expert_decisions",
        "expert_ratings",
        "knowledge",
        "labelled_questions",
        "general_files",
        "judged_answers",
        "incoming_corrections",
        "labelled_reports",
        "missed_identifiers",
        "quarantine_decisions",
        "request_features",
        "raw_reports",
        "rescrub_requests",
        "verdict_signatures",
    }


@pytest.mark.parametrize(
    ("section", "readers"),
    [
        ("scrub", {"scrub_recall"}),
        ("tagger", {"phi_taggers"}),
        (
            "dedup",
            {"unique_reports", "duplicate_reports", "quarantined_corrections", "drafted_examples", "instruction_sets"},
        ),
        ("tasks", {"quarantined_corrections", "drafted_examples", "model_drafts", "production_drift"}),
        ("corrections", {"quarantined_corrections", "approved_examples"}),
        ("trusted_sources", {"approved_examples"}),
        ("review", {"approved_examples"}),
        ("instructions", {"instruction_sets"}),
        ("base_model", {"base_models"}),
        ("training", {"adapters", "training_plans"}),
        ("judge", {"judge_scores", "judge_agreement", "document_answers"}),
        ("retrieval", {"document_answers", "releases"}),
        ("abilities", {"retained_abilities"}),
        ("checks", {"answer_checks"}),
        ("robustness", {"robustness_results"}),
        ("planted_secrets", {"memorization_results"}),
        ("gate", {"judge_agreement", "promotion_verdicts"}),
        ("weights", {"merged_weights"}),
        ("exports", {"quantized_weights"}),
        ("drift", {"production_drift"}),
        ("engine", {"releases", "served_models"}),
    ],
)
def test_a_section_of_the_recipe_is_read_by_what_it_decides(section: str, readers: set[str]) -> None:
    """A stricter gate must not train again, and a new export format must not be overlooked."""
    assert {name for name, node in NODES.items() if section_version(node.code_version, section)} == readers


def _stage(name: str) -> int:
    return int(str(NODES[name].group_name)[1:3])


def _documented_skips() -> set[tuple[str, str]]:
    """(asset, reader) of each row in the explanation's table."""
    page = (PROJECT_DIR / "docs" / "explanation" / "the-ten-stages.md").read_text(encoding="utf-8")
    section = page.partition("## Dependencies that skip a stage")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    return {
        (asset, reader)
        for row in rows
        for asset in re.findall("`(.+?)`", row[0])
        for reader in re.findall("`(.+?)`", row[1])
    }


def test_every_dependency_that_skips_a_stage_has_a_documented_reason() -> None:
    """People follow a report through the stages in the UI. Each further edge across them costs legibility."""
    edges = {(parent.to_user_string(), name) for name, node in NODES.items() for parent in node.parent_keys}
    skips = {(parent, name) for parent, name in edges if abs(_stage(name) - _stage(parent)) > 1}
    assert skips == _documented_skips()
    assert len(skips) <= 28


def test_only_the_ingest_of_batches_is_partitioned() -> None:
    """A batch is read and scrubbed alone; from the third stage on everything is compared with everything."""
    assert {name for name, node in NODES.items() if node.is_partitioned} == {
        "erased_subjects",
        "raw_reports",
        "reports",
        "scrubbed_reports",
        "phi_spans",
        "rescrub_requests",
    }


def test_every_check_says_what_it_claims() -> None:
    """Its description is all that people see of a gate in the UI."""
    for key in GRAPH.asset_check_keys:
        assert GRAPH.get(key).description, key.to_user_string()


def test_sensors_and_schedules_run_without_a_click() -> None:
    """A sensor that is off by default looks exactly like one with nothing to do."""
    repository = defs.get_repository_def()
    sensors = {sensor.name: sensor.default_status for sensor in repository.sensor_defs}
    assert set(sensors) == {
        "raw_report_sensor",
        "source_sensor",
        "notification_sensor",
        "automation",
    }
    assert set(sensors.values()) == {dg.DefaultSensorStatus.RUNNING}
    assert {s.default_status for s in repository.schedule_defs} == {dg.DefaultScheduleStatus.RUNNING}


NO_GPU = {
    "base_models": "reads a folder's files",
    "phi_spans": "scrubs on the processor",
    "scrub_recall": "scrubs on the processor",
    "scrubbed_reports": "scrubs on the processor",
    "scrubbed_corrections": "scrubs on the processor",
    "instruction_sets": "scrubs on the processor",
    "phi_taggers": "learns to tag on the processor",
    "knowledge_indexes": "its encoder runs on the processor",
    "model_drafts": "would keep reports from the desk for as long as a training lasts",
}
"""Assets with a worker that don't use the GPU pool, and why."""


@pytest.mark.parametrize("name", EXECUTABLE)
def test_every_asset_that_may_run_a_model_uses_the_gpu_pool(name: str) -> None:
    """A judge and a training that run concurrently would exceed the memory of the GPU."""
    step = defs.resolve_assets_def(name)
    if "worker" in step.required_resource_keys and name not in NO_GPU:
        assert step.op.pool == GPU


@pytest.mark.parametrize("path", sorted((PACKAGE_DIR / "defs").rglob("*.py")), ids=str)
def test_annotations_under_defs_are_real(path: Path) -> None:
    """Dagster reads the annotations of `context` and config, and can't resolve strings."""
    assert "from __future__ import annotations" not in path.read_text(encoding="utf-8")


def test_resolving_the_definitions_prints_no_warning_of_dagster(tmp_path: Path) -> None:
    """`fine-tune materialize` began with a BetaWarning about a parameter that Dagster itself passes."""
    done = _run(
        tmp_path, sys.executable, "-c", "from fine_tune_assets.definitions import defs; defs.get_repository_def()"
    )
    assert (done.returncode, "BetaWarning" in done.stderr) == (0, False), done.stderr
