"""`fine-tune materialize`: Dagster's selection syntax, and a dry run that starts nothing."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.fingerprints import fingerprint_files
from fine_tune_assets.defs.local_run import report_source_changes
from fine_tune_assets.defs.s01_raw_reports.raw_reports import BATCHES
from fine_tune_assets_tests.conftest import drop_dialogues

FIRST, SECOND = "2026-01", "2026-02"


def materialize(*words: str) -> Result:
    return CliRunner().invoke(main, ["materialize", *words])


def runs(*selection: str) -> list[dict[str, Any]]:
    done = materialize("--dry-run", "--json", *selection)
    assert done.exit_code == 0, done.output
    return list(json.loads(done.stdout))


@pytest.fixture
def batches(instance: dg.DagsterInstance) -> dg.DagsterInstance:
    instance.add_dynamic_partitions(str(BATCHES.name), [FIRST, SECOND])
    return instance


def test_a_dry_run_shows_one_run_for_each_batch_and_one_for_the_rest(batches: dg.DagsterInstance) -> None:
    """An operator sees what a selection costs before it runs."""
    shown = runs("+drafted_examples")  # with everything upstream, not only one level
    assert [row["batch"] for row in shown] == [None, FIRST, SECOND, None]
    assert shown[0]["assets"] == ["scrub_recall"]  # the gate of the batches
    for row in shown[1:3]:
        assert {"reports", "scrubbed_reports", "phi_spans"} <= set(row["assets"])
    assert {"drafted_examples", "unique_reports"} <= set(shown[3]["assets"])
    assert "adapters" not in str(shown)
    assert batches.get_runs() == []


@pytest.mark.parametrize(
    ("selection", "included", "excluded"),
    [
        (("drafted_examples",), {"drafted_examples"}, {"reports", "approved_examples"}),
        (("approved_examples+",), {"approved_examples", "instruction_sets", "adapters"}, {"drafted_examples"}),
        (("1+drafted_examples",), {"drafted_examples", "unique_reports"}, {"reports"}),
        (("adapters+",), {"adapters", "merged_weights", "releases", "served_models"}, {"instruction_sets"}),
        (("group:s07_judge_scores",), {"judge_scores", "promotion_verdicts"}, {"adapters", "releases"}),
        (("base_models", "drafted_examples"), {"base_models", "drafted_examples"}, {"adapters"}),
        (("key:base_models or key:releases",), {"base_models", "releases"}, {"adapters"}),
    ],
)
@pytest.mark.usefixtures("batches")
def test_a_selection_uses_the_syntax_of_dagster(
    selection: tuple[str, ...], included: set[str], excluded: set[str]
) -> None:
    """The same selections work in the Dagster UI."""
    assets = {asset for row in runs(*selection) for asset in row["assets"]}
    assert included <= assets
    assert not excluded & assets


def test_a_dry_run_changes_no_file(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """Not even the list of batches changes, although the folder has an unread batch."""
    drop_dialogues(installation_dir, FIRST, 0, 2)
    before = fingerprint_files(installation_dir)
    for selection in ((), ("+drafted_examples",)):
        assert materialize("--dry-run", *selection).exit_code == 0
    assert fingerprint_files(installation_dir) == before
    assert instance.get_runs() == []
    assert instance.get_dynamic_partitions(str(BATCHES.name)) == []


def test_a_dry_run_names_the_changes_that_nobody_has_recorded_yet(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """It said that everything was up to date right after the change of a domain pack, while services ran."""
    report_source_changes(instance)
    instance.add_dynamic_partitions(str(BATCHES.name), [FIRST])
    (installation_dir / "tables" / "reports").mkdir(parents=True)
    (installation_dir / "tables" / "reports" / f"{FIRST}.parquet").write_bytes(b"")
    assert "not recorded yet" not in materialize("--dry-run").output
    (installation_dir / "general" / "more.jsonl").write_text("{}", encoding="utf-8")
    shown = materialize("--dry-run")
    assert "Changed, but not recorded yet: general_files." in shown.output
    assert "up to date" not in shown.output


@pytest.mark.parametrize("is_dry", [True, False])
@pytest.mark.parametrize("selection", ["draftd_examples", "+draftd_examples", "group:s07", "and and", "raw_reports"])
def test_an_unknown_selection_fails_and_names_the_assets(
    instance: dg.DagsterInstance, selection: str, is_dry: bool
) -> None:
    """A typing error that selects nothing must not look like a success."""
    options = ("--dry-run",) if is_dry else ()
    refused = materialize(*options, "base_models", selection)
    assert refused.exit_code == 1
    assert selection in refused.stderr
    assert {"drafted_examples", "base_models", "releases"} <= set(
        refused.stderr.replace(",", " ").replace(".", " ").split()
    )
    assert instance.get_runs() == []


@pytest.mark.usefixtures("instance")
def test_the_former_option_only_is_refused() -> None:
    assert materialize("--only", "base_models").exit_code == 2


def test_a_dry_run_in_a_new_installation_does_not_say_that_everything_is_up_to_date(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """Before the first run no source is recorded, so no run is due yet; a new user read that there is nothing to do."""
    assert "has no batch folder" in materialize("--dry-run").output
    drop_dialogues(installation_dir, FIRST, 0, 2)
    shown = materialize("--dry-run").output
    assert FIRST in shown
    assert "`fine-tune materialize` reads them" in shown
    assert "up to date" not in shown
    assert runs() == []
    assert instance.get_runs() == []


def test_a_closed_gate_is_named_although_nothing_is_left_to_run(instance: dg.DagsterInstance) -> None:
    """Automation starts nothing behind it, so no command fails. A passed check, or one of older data, is not named."""
    asset, gate, reason = (
        dg.AssetKey("instruction_sets"),
        "final_texts_contain_no_identifiers",
        "2 examples have names.",
    )

    def report(passed: bool, name: str = gate) -> None:
        evaluation = dg.AssetCheckEvaluation(
            asset_key=asset, check_name=name, passed=passed, metadata={"reason": reason}, blocking=True
        )
        instance.report_runless_asset_event(evaluation)

    def stops() -> list[str]:
        done = materialize("--dry-run")
        assert done.exit_code == 0, done.output
        return [line for line in done.stderr.splitlines() if line.startswith("Stopped at ")]

    instance.report_runless_asset_event(dg.AssetMaterialization(asset))
    assert stops() == []
    report(passed=False)
    assert stops() == [f"Stopped at instruction_sets, {gate}: {reason}"]
    report(passed=True)
    assert stops() == []
