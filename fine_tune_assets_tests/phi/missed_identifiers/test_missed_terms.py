"""Marked terms are removed from their subject's reports, and texts that still contain one are found."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.identifier_kinds import KINDS
from fine_tune_assets.ledger.reviews.identifier_marks import MissedTerm
from fine_tune_assets.phi.missed_identifiers.missed_terms import (
    add_missed_terms,
    find_subject_batches,
    flag_missed_terms,
    has_any_term,
    read_subject_texts,
    to_known_identifier,
)
from fine_tune_assets.phi.recognizers.rules.rule_list import RULE_SETS
from fine_tune_assets.phi.scrubber import Scrubber
from fine_tune_assets.tables.record_classes import check_table, table_from_rows
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets_tests.clinical_domain import VOCABULARY

NAME = MissedTerm("m1", "NAME", "Zebra Finch")


def _report(number: int, subject_key: str, text: str, batch: str = "b") -> dict[str, Any]:
    return {
        "report_id": f"{batch}/{number}",
        "batch": batch,
        "source": "s",
        "subject_key": subject_key,
        "text": text,
        "known_identifiers": [{"kind": "id", "value": "4711"}],
        "origin_file": "f",
        "fingerprint": "x",
    }


def test_every_kind_of_the_rules_can_be_marked() -> None:
    """Reviewers could not mark a missing kind, and the second pass would treat its placeholder as residual PHI."""
    assert {rule.label for rules in RULE_SETS.values() for rule in rules} <= set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("term", ["Zebra", "zebra finch", "45", "4711", "12/6", "x-7.b"])
def test_marked_term_of_any_kind_is_removed_everywhere(scrubber: Scrubber, kind: str, term: str) -> None:
    """A reviewer decided: rules that spare plain ages, small numbers and quantities do not apply."""
    text = f"Seen today: {term.upper()}, and later {term} mg again. Rest."
    marked = MissedTerm("m", kind, term)
    assert has_any_term(text, [marked], VOCABULARY)
    scrubbed = scrubber.scrub(text, [to_known_identifier(marked)])
    assert not has_any_term(scrubbed.text, [marked], VOCABULARY)
    assert term.lower() not in scrubbed.text.lower()
    assert scrubbed.text.startswith(f"Seen today: [{kind}]")


def test_term_is_added_only_to_reports_of_its_subject() -> None:
    """One subject's name may be an ordinary word in another's report."""
    reports = table_from_rows([_report(1, "p", "one"), _report(2, "q", "two")], Report.SCHEMA)
    extended = add_missed_terms(reports, {"p": [NAME]})
    check_table(extended, Report.SCHEMA)
    stated = [{"kind": "id", "value": "4711"}]
    assert extended["known_identifiers"].to_pylist() == [[*stated, {"kind": "name", "value": "Zebra Finch"}], stated]
    assert extended.drop_columns("known_identifiers") == reports.drop_columns("known_identifiers")
    assert add_missed_terms(reports, {}) is reports


def test_text_is_flagged_only_for_the_subject_of_the_term() -> None:
    texts = pa.chunked_array([["A FINCH sings.", "A finch sings."], ["Nothing.", "Zebra\n finch"]])
    subject_keys = pa.chunked_array([["p", "q", "p", None]])
    assert flag_missed_terms(subject_keys, [texts], {"p": [NAME]}, VOCABULARY).to_pylist() == [
        True,
        False,
        False,
        False,
    ]
    assert flag_missed_terms(subject_keys, [texts], {}, VOCABULARY).to_pylist() == [False] * 4


def test_placeholders_do_not_match_terms() -> None:
    """Otherwise a report in which "name" was marked would be withheld forever."""
    assert not has_any_term(
        "[NAME] has an [ID].", [MissedTerm("m", "NAME", "name"), MissedTerm("m", "FACILITY", "ID")], VOCABULARY
    )


def test_batches_and_texts_of_a_subject_are_found(tmp_path: Path) -> None:
    """Only the batches of the subject are scrubbed again."""
    for batch in ("a", "b", "c"):
        rows = [_report(1, "q", f"other {batch}", batch)]
        rows += [_report(2, "p", f"text {batch}", batch)] * (batch != "c")
        write_table(tmp_path / f"{batch}.parquet", table_from_rows(rows, Report.SCHEMA))
    assert find_subject_batches(tmp_path, ["p", "unknown"]) == {"a": {"p"}, "b": {"p"}}
    assert sorted(read_subject_texts(tmp_path, ["p"])) == [("p", "text a"), ("p", "text b")]
    assert find_subject_batches(tmp_path / "nothing", ["p"]) == find_subject_batches(tmp_path, []) == {}
