"""`fine-tune subjects key` and `fine-tune trace`: the key of a subject from a hidden id, and traces as text and as JSON."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.sample_subjects import is_sample_subject, sample_subject_key
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.lineage.training_runs import record_training_run
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch
from fine_tune_assets_tests.conftest import SAMPLE
from fine_tune_assets_tests.ledger.ledger_rows import make_release, make_verdict
from fine_tune_assets_tests.lineage.stored_data import MARKER, TRAINED, example_of, store_examples, store_set

pytestmark = pytest.mark.usefixtures("installation_dir")


def call(*arguments: str, entered: str = "", status: int = 0) -> str:
    done = CliRunner().invoke(main, arguments, input=entered)
    assert done.exit_code == status, done.output
    return str(done.output)


def trace(*arguments: str) -> str:
    return call("trace", *arguments)


@pytest.mark.parametrize(
    ("stated", "entered", "options"),
    [
        ("subject_id: 0123", "0123\n", ()),
        ("subject_id: A 7", "  A  7 \n", ()),
        ("subject_name: Ann  QUILL", "ann quill\n", ("--by-name",)),
        ("age: 40", "b/a\n", ("--by-report",)),
    ],
)
def test_the_key_of_an_id_equals_the_key_of_its_reports(
    tmp_path: Path, stated: str, entered: str, options: tuple[str, ...]
) -> None:
    """With another key, an erasure would find nothing. The id is not printed."""
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch" / "a.txt").write_text(f"---\n{stated}\n---\nPLAN\n\nRest.\n")
    (report,) = read_batch(
        tmp_path / "batch", "b", b"k" * 32, ReadLimits(), is_subject_required=False
    ).reports.to_pylist()
    assert call("subjects", "key", *options, entered=entered) == report["subject_key"] + "\n"


def test_a_sample_subject_has_the_public_key_after_the_sample_is_read(installation_dir: Path) -> None:
    """The sample's reports have public keys. Before, and for all other subjects, the installation's secret makes the key."""
    secret_key = call("subjects", "key", entered="VA049\n").strip()
    assert not is_sample_subject(secret_key)
    batch = "2026-01-visit-notes"
    read = read_batch(SAMPLE / "raw_reports" / batch, batch, b"k" * 32, ReadLimits())
    write_table(installation_dir / "tables" / "reports" / f"{batch}.parquet", read.reports)
    assert call("subjects", "key", entered="VA049\n").strip() == sample_subject_key("VA049")
    own = read.reports.slice(0, 1).set_column(3, read.reports.schema.field(3), [[secret_key]])
    write_table(installation_dir / "tables" / "reports" / "own.parquet", own)
    assert call("subjects", "key", entered="VA049\n").split() == [sample_subject_key("VA049"), secret_key]


def test_an_empty_id_or_a_missing_secret_yields_no_key(installation_dir: Path) -> None:
    """A new secret would yield a key that matches no report."""
    assert call("subjects", "key", entered=" \n", status=1).startswith("Error: ")
    (installation_dir / "keys" / "subjects.key").unlink()
    assert "fine-tune materialize reports" in call("subjects", "key", entered="7\n", status=1)
    assert not (installation_dir / "keys" / "subjects.key").exists()


def test_traces_as_text_and_json_agree_and_contain_no_report_text() -> None:
    """Traces contain ids, names of people who decided, and times."""
    from fine_tune_assets.ledger.serving.release_records import record_release
    from fine_tune_assets.ledger.serving.verdicts import record_verdict

    installation = Installation()
    stored = store_set(installation.layout)
    store_examples(installation.layout)
    verdict = make_verdict("promote", instruction_set_fingerprint=stored.fingerprint)
    record_training_run(installation.layout.adapters, verdict.adapter_id, stored.fingerprint, [])
    with installation.ledger() as ledger:
        record_verdict(ledger, verdict)
        record_release(ledger, make_release(verdict, "r-1"))
    example_id = example_of(TRAINED)
    shown = [trace(what, name) for what, name in (("example", example_id), ("subject", TRAINED), ("release", "r-1"))]
    assert "trained on" in shown[0]
    assert f"Set            {stored.fingerprint[:16]}  train" in shown[0]
    assert "Release        r-1  never served" in shown[0]
    assert "Release        r-1  trained on  not live" in shown[1]
    assert "(evaluated on)" in shown[2]
    values = json.loads(trace("subject", TRAINED, "--json"))
    assert values["examples"][0]["trainings"][0]["use"] == "trained on"
    assert json.loads(trace("release", "r-1", "--json"))["verdicts"][0]["decision"] == "promote"
    assert MARKER not in str(shown)


def test_an_unknown_id_ends_with_one_line() -> None:
    """An empty answer would look like a success."""
    (line,) = call("trace", "release", "nobody", status=1).splitlines()
    assert (line.startswith("Error: "), "nobody" in line) == (True, True)
