"""Marks on the graph's side: every gate in which one closes, which batches it concerns, and the command line.

end_to_end/test_missed_identifier_flow.py covers the full life of a mark.
"""

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pytest
from click.testing import CliRunner

from fine_tune_assets.approval.drafts import content_fingerprint
from fine_tune_assets.cli.main import main
from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import (
    gold_files,
    load_missed_terms,
    require_no_missed_identifiers,
)
from fine_tune_assets.defs.s02_scrubbed_reports.rescrub_requests import report_rescrub_requests
from fine_tune_assets.defs.s03_unique_reports.unique_reports import drop_duplicates
from fine_tune_assets.defs.s04_approved_examples.approved_examples import approved_examples
from fine_tune_assets.ledger.reviews.identifier_marks import list_marks, record_mark, withdraw_mark
from fine_tune_assets.phi.measurement.recall import lowest_recall
from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets.tables.scrubbing_rows import PhiSpan, ScrubbedReport, ScrubRecall
from fine_tune_assets.tables.stored_tables import StoredTable
from fine_tune_assets_tests.cli.desk_users import OS_USER
from fine_tune_assets_tests.instructions.examples import built
from fine_tune_assets_tests.ledger.ledger_rows import record_decision
from fine_tune_assets_tests.stored_tables import stored_in

TERM = "Zebrafinch"


def call(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["phi", *arguments])
    assert done.exit_code == 0, done.output
    return str(done.output)


def _mark(report_id: str = "b/1", patient: str = "p", term: str = TERM) -> str:
    with Installation().ledger() as ledger:
        return record_mark(
            ledger,
            ledger.key,
            report_id=report_id,
            batch=report_id.partition("/")[0],
            subject_key=patient,
            kind="NAME",
            term=term,
            labelled_case=f'{{"text": "{TERM}", "spans": [{{"start": 0, "end": 10, "label": "NAME"}}]}}',
            marked_by="expert-1",
        )


def _scrubbed(**texts: str) -> dict[str, StoredTable]:
    """One batch with one report a patient, in a file."""
    version = scrubber_version(Installation().recipe.scrubber)
    plain = {"batch": "b", "source": "mts-dialog", "span_count": 0, "scrubber_version": version}
    rows = [
        {
            **plain,
            "report_id": f"b/{patient}",
            "subject_key": patient,
            "text": text,
            "tagged_text": text,
            "fingerprint": fingerprint_text(text),
        }
        for patient, text in texts.items()
    ]
    return stored_in(Installation().layout.data_dir, {"b": table_from_rows(rows, ScrubbedReport.SCHEMA)})


def _recall(**recall_of: float) -> pa.Table:
    plain = {"measure": "masked_recall", "hits": 90, "total": 100, "low": 0.1, "high": 1.0}
    version = scrubber_version(Installation().recipe.scrubber)
    rows = [
        {**plain, "labelled_set": s, "label": label, "value": r, "scrubber_version": version}
        for s, r in recall_of.items()
        for label in ("all", "direct")
    ]
    return table_from_rows(rows, ScrubRecall.SCHEMA)


@pytest.mark.usefixtures("installation_dir")
def test_a_report_with_a_marked_term_of_its_patient_is_not_a_unique_report() -> None:
    """The gate in the third stage: whatever ran or did not run before, the text itself is looked at."""
    texts = _scrubbed(p=f"Says {TERM.lower()}.", q=f"Another patient's {TERM}, an ordinary word there.")

    def unique() -> list[str]:
        made = drop_duplicates(
            dg.build_asset_context(),
            installation=Installation(),
            scrubbed_reports=texts,
            scrub_recall=_recall(other=0.99),
        )
        first = next(iter(made))  # type: ignore[call-overload]
        return list(first.value["report_id"].to_pylist())

    assert unique() == ["b/p", "b/q"]
    mark_id = _mark()
    assert unique() == ["b/q"]
    with Installation().ledger() as ledger:
        withdraw_mark(ledger, mark_id, "expert-2")
    assert unique() == ["b/p", "b/q"]


def test_a_copy_under_another_patients_key_is_withheld_and_scrubbed_again_too(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """Dropped as a duplicate until the mark, it would take the held report's place at the next run."""
    instance.add_dynamic_partitions("report_batches", ["b", "c", "d"])
    report = {"source": "s", "known_identifiers": [], "origin_file": "f", "fingerprint": "x"}
    for batch, patient, text in (("b", "p", TERM), ("c", "q", TERM), ("d", "r", "nobody")):
        row = {**report, "report_id": f"{batch}/{patient}", "batch": batch, "subject_key": patient}
        row["text"] = f"Two days of cough. Seen with {text}."
        write_table(installation_dir / "tables" / "reports" / f"{batch}.parquet", table_from_rows([row], Report.SCHEMA))
    _mark("b/p")
    texts = _scrubbed(p=f"Two days of cough. Seen with {TERM}.", q=f"Two days of cough. Seen with {TERM}.", r="Cough.")
    made = drop_duplicates(
        dg.build_asset_context(), installation=Installation(), scrubbed_reports=texts, scrub_recall=_recall(other=0.99)
    )
    assert next(iter(made)).value["report_id"].to_pylist() == ["b/r"]  # type: ignore[call-overload]
    assert {event.partition for event in report_rescrub_requests(instance, Installation())} == {"b", "c"}


def _set_of(subject_key: str, text: str) -> pa.Table:
    messages = [{"role": "user", "content": "Name it."}, {"role": "assistant", "content": text}]
    return pa.table({"subject_key": [subject_key], "messages": [messages]})


def test_a_gate_knows_the_copies_without_reading_a_report(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """Twelve later assets had to read all reports, only to see which subjects a mark concerns."""
    report = {"source": "s", "known_identifiers": [], "origin_file": "f", "fingerprint": "x"}
    for batch, patient in (("b", "p"), ("c", "q")):
        row = {**report, "report_id": f"{batch}/{patient}", "batch": batch, "subject_key": patient}
        row["text"] = f"Two days of cough. Seen with {TERM}."
        write_table(installation_dir / "tables" / "reports" / f"{batch}.parquet", table_from_rows([row], Report.SCHEMA))
    mark_id = _mark("b/p")
    report_rescrub_requests(instance, Installation())  # at the next tick of the sensor
    shutil.rmtree(installation_dir / "tables" / "reports")
    for subject_key in ("p", "q"):
        with pytest.raises(GateClosedError):
            require_no_missed_identifiers(Installation(), _set_of(subject_key, f"{TERM} coughs."))
    require_no_missed_identifiers(Installation(), _set_of("r", f"{TERM} coughs."))
    with Installation().ledger() as ledger:
        withdraw_mark(ledger, mark_id, "expert-2")
    require_no_missed_identifiers(Installation(), _set_of("q", f"{TERM} coughs."))


@pytest.mark.usefixtures("installation_dir")
def test_a_mark_whose_copies_are_unknown_counts_for_every_subject() -> None:
    """Between the mark and the next tick, a training must not start on a copy."""
    _mark()
    with pytest.raises(GateClosedError):
        require_no_missed_identifiers(Installation(), _set_of("another", f"{TERM} coughs."))
    require_no_missed_identifiers(Installation(), _set_of("another", "The patient coughs."))


@pytest.mark.usefixtures("installation_dir")
def test_an_example_that_holds_a_marked_term_is_not_approved_not_even_as_repaired() -> None:
    """A repaired output is typed by a person and never scrubbed."""
    row = {"subject_key": "p", "source": "elsewhere", "task": "t", "flags": []}
    content = {"instruction": "Name it.", "input": "A cough.", "output": "Cough."}
    draft = {
        **row,
        **content,
        "example_id": "e",
        "report_id": "b/p",
        "fingerprint": content_fingerprint(**_renamed(content)),
    }
    drafts = table_from_rows([draft], DraftedExample.SCHEMA)
    with Installation().ledger() as ledger:
        named = {name: draft[name] for name in ("example_id", "fingerprint", "report_id", "task")}
        repaired = _renamed({**content, "output": f"{TERM} coughs."})
        record_decision(
            ledger,
            **named,
            decision="approve",
            output=repaired["output"],
            reviewer="expert-1",
            approved_fingerprint=content_fingerprint(**repaired),
        )

    def approved() -> Any:
        return approved_examples(installation=Installation(), drafted_examples=drafts)

    assert approved().value.num_rows == 1
    _mark()
    assert (approved().value.num_rows, approved().metadata["withheld"]) == (0, 1)


def _renamed(content: dict[str, str]) -> dict[str, str]:
    return {"instruction": content["instruction"], "input_text": content["input"], "output": content["output"]}


@pytest.mark.usefixtures("installation_dir")
def test_a_set_that_is_older_than_a_mark_closes_the_gate() -> None:
    """A training may be requested in the minute of the mark, or by hand before the scrubber has finished."""
    table = built().table
    require_no_missed_identifiers(Installation(), table)
    word = _mark_a_word_of(table)
    load_missed_terms(Installation())  # as the desk does when it records a mark
    with pytest.raises(GateClosedError, match=r"^1 examples .*`fine-tune materialize instruction_sets`") as caught:
        require_no_missed_identifiers(Installation(), table)
    assert f" {word} " not in str(caught.value)


def _mark_a_word_of(instruction_set: pa.Table) -> str:
    example = next(row for row in instruction_set.to_pylist() if not row["is_general"])
    word = str(example["messages"][-1]["content"].split()[0].strip(".,"))
    _mark(patient=example["subject_key"], term=word)
    return word


@pytest.mark.usefixtures("installation_dir")
def test_the_set_of_marks_opens_and_closes_no_gate() -> None:
    version = scrubber_version(Installation().recipe.scrubber)
    assert lowest_recall(_recall(other=0.9, reviewer_marks=0.0), version) == 0.9
    assert lowest_recall(_recall(reviewer_marks=1.0), version) is None


def test_cases_lie_in_a_private_file_for_as_long_as_they_are_measured(installation_dir: Path, tmp_path: Path) -> None:
    """It holds the very texts that identify patients."""
    labelled, scratch = [installation_dir / "evaluation" / "phi" / "asq_phi.jsonl"], tmp_path / "recall.parquet"
    with gold_files(Installation(), labelled, scratch) as files:
        assert files == labelled
    _mark()

    def measure() -> None:
        with gold_files(Installation(), labelled, scratch) as (first, marked):
            assert (first, marked.stem) == (labelled[0], REVIEWER_MARKS)
            assert stat.S_IMODE(marked.stat().st_mode) == 0o600
            assert TERM in marked.read_text()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        measure()
    assert list(tmp_path.glob("*.jsonl")) == []
    with gold_files(Installation(), [], scratch) as files:
        assert files == []


@pytest.mark.usefixtures("installation_dir")
def test_no_labelled_set_can_take_the_name_that_no_floor_counts(tmp_path: Path) -> None:
    """Else a set on which the scrubber is bad is simply renamed."""
    named = tmp_path / f"{REVIEWER_MARKS}.jsonl"
    with pytest.raises(GateClosedError, match="Rename it"), gold_files(Installation(), [named], tmp_path / "x.parquet"):
        pass


def test_only_the_batches_of_the_patient_are_reported_each_once(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """Scrubbing a year of reports again for one name would take a night."""
    instance.add_dynamic_partitions("report_batches", ["a", "b", "c"])
    report = {
        "report_id": "r",
        "source": "s",
        "text": "t",
        "known_identifiers": [],
        "origin_file": "f",
        "fingerprint": "x",
    }

    def put(batch: str, *patients: str) -> None:
        rows = [{**report, "batch": batch, "subject_key": patient} for patient in patients]
        write_table(installation_dir / "tables" / "reports" / f"{batch}.parquet", table_from_rows(rows, Report.SCHEMA))

    def noticed() -> set[str | None]:
        events = report_rescrub_requests(instance, Installation())
        for event in events:
            instance.report_runless_asset_event(event)
        return {event.partition for event in events}

    put("a", "p", "q")
    put("b", "p")
    put("c", "q")
    assert noticed() == set()
    mark_id = _mark(patient="p")
    assert noticed() == {"a", "b"}
    assert noticed() == set()
    put("c", "q", "p")
    assert noticed() == {"c"}
    put("b", "q")
    assert noticed() == {"b"}
    with Installation().ledger() as ledger:
        withdraw_mark(ledger, mark_id, "expert-2")
    assert noticed() == {"a", "c"}
    assert noticed() == set()


@pytest.fixture
def reported(installation_dir: Path) -> Path:
    """A report that was read and scrubbed, with the term left in it."""
    row = {
        "report_id": "b/1",
        "batch": "b",
        "source": "s",
        "subject_key": "p",
        "text": f"{TERM} coughs.",
        "fingerprint": "x",
    }
    tables = {
        "reports": table_from_rows([{**row, "known_identifiers": [], "origin_file": "f"}], Report.SCHEMA),
        "scrubbed_reports": table_from_rows(
            [{**row, "tagged_text": row["text"], "span_count": 0, "scrubber_version": "v"}], ScrubbedReport.SCHEMA
        ),
        "phi_spans": PhiSpan.SCHEMA.empty_table(),
    }
    for name, table in tables.items():
        write_table(installation_dir / "tables" / name / "b.parquet", table)
    return installation_dir


@pytest.mark.usefixtures("reported")
def test_the_command_line_lists_and_withdraws_marks_and_never_prints_a_term() -> None:
    """What is printed lands in scrollbacks and tickets. A reviewer who left can't withdraw a wrong mark."""
    mark_id = _mark()
    printed = [call("marks", "--json"), call("marks")]
    (row,) = json.loads(printed[0])
    assert (row["mark_id"], row["kind"], row["state"], row["report_id"]) == (mark_id, "NAME", "withheld", "b/1")
    printed += [call("withdraw", mark_id), call("marks", "--json"), call("marks", "--all", "--json")]
    assert json.loads(printed[3]) == []
    assert [row["state"] for row in json.loads(printed[4])] == ["withdrawn"]
    with Installation().ledger() as ledger:
        assert [mark.withdrawn_by for mark in list_marks(ledger)] == [OS_USER]
    assert TERM.lower() not in str(printed).lower()
