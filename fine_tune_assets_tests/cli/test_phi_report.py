"""`fine-tune phi report`: what the scrubber misses, without a query and without text."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.errors import GATE_CLOSED
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import LabelledMiss, ScrubRecall
from fine_tune_assets_tests.cli.recall_tables import MET
from fine_tune_assets_tests.phi.measurement.recall_rows import ROWS

MISS = {
    "labelled_set": "b", "file_fingerprint": "f", "document": 3, "start": 1, "end": 5, "missed_start": 1, "missed_end": 5,
    "label": "NAME", "cause": "no_context", "rule": "own_rule", "scrubber_version": "v",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(tmp_path))


def report(tmp_path: Path, rows: list[dict[str, object]], *options: str) -> Result:
    for name, found, schema in (
        ("scrub_recall", rows, ScrubRecall.SCHEMA),
        ("labelled_misses", [MISS, MISS], LabelledMiss.SCHEMA),
    ):
        write_table(tmp_path / "tables" / name / f"{name}.parquet", table_from_rows(found, schema))
    return CliRunner().invoke(main, ["phi", "report", *options])


def test_met_floors_end_with_status_0(tmp_path: Path) -> None:
    done = report(tmp_path, MET)
    assert done.exit_code == 0, done.output
    assert done.stdout.count(" met") == 2
    assert "NOT MET" not in done.stdout
    assert "No misses: NAME 100" in done.stdout


def test_a_floor_that_is_not_met_ends_with_the_status_of_a_closed_gate(tmp_path: Path) -> None:
    """A script must not continue to scrub."""
    done = report(tmp_path, ROWS)
    assert done.exit_code == GATE_CLOSED
    assert done.stdout.count("NOT MET") == 2
    assert "0.900" in done.stderr


def test_misses_and_over_masking_are_printed_with_what_would_catch_them(tmp_path: Path) -> None:
    shown = report(tmp_path, ROWS).stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["NAME", "yes", "70", "2"] in [line[:4] for line in lines]
    assert [line[-3:] for line in lines if line[:1] == ["a"]] == [["1000", "30", "0.0300"]]
    assert "2 NAME: It has the form of `own_rule`" in shown
    assert "/misses" in shown
    assert "fine-tune up desk" in shown, "the page can't be opened while the desk is stopped"


def test_json_has_every_figure(tmp_path: Path) -> None:
    done = report(tmp_path, ROWS, "--json")
    assert done.exit_code == GATE_CLOSED
    found = json.loads(done.stdout)
    assert found["is_met"] is False
    assert [floor["is_met"] for floor in found["floors"]] == [False, False]
    assert {kind["name"]: kind["missed"] for kind in found["kinds"]} == {"NAME": 2, "DATE": 1}
    assert found["sets"][0]["over_masked"] == 30
    assert (found["causes"][0]["misses"], found["causes"][0]["rule"]) == (2, "own_rule")


def test_without_a_measurement_the_gate_is_closed() -> None:
    """No figure is not a met floor."""
    done = CliRunner().invoke(main, ["phi", "report"])
    assert done.exit_code == GATE_CLOSED
    assert "fine-tune materialize scrub_recall" in done.stderr
