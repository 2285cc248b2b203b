"""A marked term goes from its patient's reports, and what still holds it is seen."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.ledger.reviews.missed_identifiers import MissedTerm
from fine_tune_assets.phi.missed_identifiers.terms import (
    as_known_identifier,
    batches_of_patients,
    holds_any,
    holds_missed_terms,
    texts_of_patients,
    with_missed_terms,
)
from fine_tune_assets.phi.recognizers.rules.registry import RULES
from fine_tune_assets.phi.scrubbing import Scrubber
from fine_tune_assets.phi.spans.kinds import KINDS
from fine_tune_assets.tables.records import check_table, table_of
from fine_tune_assets.tables.reports import Report

NAME = MissedTerm("m1", "NAME", "Zebra Finch")


def _report(number: int, patient: str, text: str, batch: str = "b") -> dict[str, Any]:
    return {
        "report_id": f"{batch}/{number}",
        "batch": batch,
        "source": "s",
        "patient_key": patient,
        "text": text,
        "known_identifiers": [{"kind": "id", "value": "4711"}],
        "origin_file": "f",
        "fingerprint": "x",
    }


def test_every_kind_that_the_scrubber_names_can_be_marked() -> None:
    """A kind that is missing here is one that no reviewer can mark, and one that the second pass takes for a leak."""
    assert {rule.label for rule in RULES} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("term", ["Zebra", "zebra finch", "45", "4711", "12/6", "x-7.b"])
def test_a_term_of_any_kind_goes_wherever_it_stands_as_a_word(scrubber: Scrubber, kind: str, term: str) -> None:
    """A reviewer said so: the rules that spare a plain age, a small number or a quantity do not ask again."""
    text = f"Seen today: {term.upper()}, and later {term} mg again. Rest."
    marked = MissedTerm("m", kind, term)
    assert holds_any(text, [marked])
    scrubbed = scrubber.scrub(text, [as_known_identifier(marked)])
    assert not holds_any(scrubbed.text, [marked])
    assert term.lower() not in scrubbed.text.lower()
    assert scrubbed.text.startswith(f"Seen today: [{kind}]")


def test_only_reports_of_the_patient_are_told_the_term() -> None:
    """A name of one patient may be an ordinary word in the report of another."""
    reports = table_of([_report(1, "p", "one"), _report(2, "q", "two")], Report.SCHEMA)
    told = with_missed_terms(reports, {"p": [NAME]})
    check_table(told, Report.SCHEMA)
    stated = [{"kind": "id", "value": "4711"}]
    assert told["known_identifiers"].to_pylist() == [[*stated, {"kind": "name", "value": "Zebra Finch"}], stated]
    assert told.drop_columns("known_identifiers") == reports.drop_columns("known_identifiers")
    assert with_missed_terms(reports, {}) is reports


def test_a_text_that_holds_the_term_is_seen_for_its_patient_only() -> None:
    texts = pa.chunked_array([["A FINCH sings.", "A finch sings."], ["Nothing.", "Zebra\n finch"]])
    patients = pa.chunked_array([["p", "q", "p", None]])
    assert holds_missed_terms(patients, [texts], {"p": [NAME]}).to_pylist() == [True, False, False, False]
    assert holds_missed_terms(patients, [texts], {}).to_pylist() == [False] * 4


def test_what_stands_in_an_identifiers_place_is_no_term() -> None:
    """Else a report in which "name" was marked would be held back for ever."""
    assert not holds_any("[NAME] has an [ID].", [MissedTerm("m", "NAME", "name"), MissedTerm("m", "FACILITY", "ID")])


def test_the_batches_and_the_texts_of_a_patient_are_found_in_the_files(tmp_path: Path) -> None:
    """Each batch of the patient is scrubbed again, and no other."""
    for batch in ("a", "b", "c"):
        rows = [_report(1, "q", f"other {batch}", batch)]
        rows += [_report(2, "p", f"text {batch}", batch)] * (batch != "c")
        write_table(tmp_path / f"{batch}.parquet", table_of(rows, Report.SCHEMA))
    assert batches_of_patients(tmp_path, ["p", "nobody"]) == {"a": {"p"}, "b": {"p"}}
    assert sorted(texts_of_patients(tmp_path, ["p"])) == [("p", "text a"), ("p", "text b")]
    assert batches_of_patients(tmp_path / "nothing", ["p"]) == batches_of_patients(tmp_path, []) == {}
