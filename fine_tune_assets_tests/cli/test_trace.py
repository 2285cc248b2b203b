"""`fine-tune trace` on the terminal: a patient's key from an id that nobody sees, and traces for people and for programs."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.sample_subjects import is_sample_subject, sample_subject_key
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.lineage.trainings import record_training
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch
from fine_tune_assets_tests.conftest import SAMPLE
from fine_tune_assets_tests.ledger.made import make_release, make_verdict
from fine_tune_assets_tests.lineage.made import MARKER, TRAINED, example_of, store_examples, store_set

pytestmark = pytest.mark.usefixtures("installation_dir")


def call(*arguments: str, entered: str = "", status: int = 0) -> str:
    done = CliRunner().invoke(main, ["trace", *arguments], input=entered)
    assert done.exit_code == status, done.output
    return str(done.output)


@pytest.mark.parametrize(
    ("stated", "entered", "options"),
    [
        ("patient_id: 0123", "0123\n", ()),
        ("patient_id: A 7", "  A  7 \n", ()),
        ("patient_name: Ann  QUILL", "ann quill\n", ("--by-name",)),
    ],
)
def test_the_key_of_an_id_is_the_one_that_reading_gives_its_reports(
    tmp_path: Path, stated: str, entered: str, options: tuple[str, ...]
) -> None:
    """With another one an erasure would find nothing. The id itself is not printed."""
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch" / "a.txt").write_text(f"---\n{stated}\n---\nPLAN\n\nRest.\n")
    (report,) = read_batch(tmp_path / "batch", "b", b"k" * 32, ReadLimits()).reports.to_pylist()
    assert call("patient-key", *options, entered=entered) == report["patient_key"] + "\n"


def test_the_key_of_a_subject_of_the_sample_is_the_public_one_once_it_was_read(installation_dir: Path) -> None:
    """It is what the reports stand under. Before, and of everybody else, the installation's secret makes the key."""
    secret_key = call("patient-key", entered="VA049\n").strip()
    assert not is_sample_subject(secret_key)
    batch = "2026-01-visit-notes"
    read = read_batch(SAMPLE / "raw_reports" / batch, batch, b"k" * 32, ReadLimits())
    write_table(installation_dir / "tables" / "reports" / f"{batch}.parquet", read.reports)
    assert call("patient-key", entered="VA049\n").strip() == sample_subject_key("VA049")
    own = read.reports.slice(0, 1).set_column(3, read.reports.schema.field(3), [[secret_key]])
    write_table(installation_dir / "tables" / "reports" / "own.parquet", own)
    assert call("patient-key", entered="VA049\n").split() == [sample_subject_key("VA049"), secret_key]


def test_no_key_is_made_of_nothing_or_without_the_installations_secret(installation_dir: Path) -> None:
    """A new secret would give a key that no report has."""
    assert "No id was entered" in call("patient-key", entered=" \n", status=1)
    (installation_dir / "keys" / "patients.key").unlink()
    assert "There is no key for patients" in call("patient-key", entered="7\n", status=1)
    assert not (installation_dir / "keys" / "patients.key").exists()


def test_traces_say_the_same_to_people_and_to_programs_and_no_text() -> None:
    """Ids, names of people who decided, and times."""
    from fine_tune_assets.ledger.serving.releases import record_release
    from fine_tune_assets.ledger.serving.verdicts import record_verdict

    installation = Installation()
    stored = store_set(installation.layout)
    store_examples(installation.layout)
    verdict = make_verdict("promote", instruction_set_fingerprint=stored.fingerprint)
    record_training(installation.layout.adapters, verdict.adapter_id, stored.fingerprint, [])
    with installation.ledger() as ledger:
        record_verdict(ledger, verdict)
        record_release(ledger, make_release(verdict, "r-1"))
    example_id = example_of(TRAINED)
    shown = [call(what, name) for what, name in (("example", example_id), ("patient", TRAINED), ("release", "r-1"))]
    assert "learned from" in shown[0]
    assert f"Set            {stored.fingerprint[:16]}  train" in shown[0]
    assert "Release        r-1  never served" in shown[0]
    assert "Release        r-1  learned from  not live" in shown[1]
    assert "(measured on)" in shown[2]
    values = json.loads(call("patient", TRAINED, "--json"))
    assert values["examples"][0]["trainings"][0]["use"] == "learned from"
    assert json.loads(call("release", "r-1", "--json"))["verdicts"][0]["decision"] == "promote"
    assert MARKER not in str(shown)


def test_an_id_that_nothing_has_ends_with_one_line() -> None:
    """And not with an empty answer."""
    assert call("release", "nobody", status=1) == "Error: There is no release nobody.\n"
