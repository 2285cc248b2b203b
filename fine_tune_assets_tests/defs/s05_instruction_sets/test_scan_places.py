"""Where the scan of the final texts found something: kept next to the set, in the part of the example that contains it."""

from pathlib import Path

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s05_instruction_sets.set_evidence import _ExampleTexts, find_identifiers, list_findings
from fine_tune_assets.lineage.final_text_findings import (
    match_scanned_text,
    read_newest_findings,
    write_findings,
)
from fine_tune_assets.tables.approval_rows import DraftedExample
from fine_tune_assets.tables.instruction_rows import FinalTextFinding
from fine_tune_assets_tests.instructions.examples import built, example

TEXTS = _ExampleTexts(example_id="e1", instruction="Plan.", input="", output="Ask Mrs. Oakbarrow, and ask Ann.")


def found_in(text: str, *words: str) -> list[tuple[int, int]]:
    return [(text.index(word), text.index(word) + len(word)) for word in words]


def test_a_place_in_the_scanned_text_becomes_a_place_in_its_part() -> None:
    """The scan reads the parts as one text, without the empty ones; pages show them one by one."""
    joined = f"{TEXTS.instruction}\n\n{TEXTS.output}"
    rows = list(list_findings([(TEXTS, "f")], {"e1": {"NAME": found_in(joined, "Oakbarrow", "Ann")}}))
    assert [(row.part, TEXTS.output[row.start : row.end]) for row in rows] == [
        ("output", "Oakbarrow"),
        ("output", "Ann"),
    ]


def test_a_place_across_two_parts_is_marked_in_both() -> None:
    """Two names next to each other at a boundary are one finding of the scrubber."""
    texts = _ExampleTexts(example_id="e1", instruction="Ask Ann", input="Oakbarrow came.", output="Rest.")
    across = (len("Ask "), len("Ask Ann\n\nOakbarrow"))
    rows = list(list_findings([(texts, "f")], {"e1": {"NAME": [across]}}))
    assert [(row.part, row.start, row.end) for row in rows] == [("instruction", 4, 7), ("input", 0, 9)]


def test_a_finding_of_the_second_pass_has_a_row_without_a_place() -> None:
    """Otherwise an example would close the gate without a word on its page."""
    (row,) = list_findings([(TEXTS, "f")], {"e1": {"PHONE": [None]}})
    assert (row.kind, row.part, row.start, row.end) == ("PHONE", None, None, None)


def finding(example_id: str, fingerprint: str = "f") -> FinalTextFinding:
    return FinalTextFinding(example_id=example_id, fingerprint=fingerprint, kind="NAME", part="output", start=4, end=18)


def test_the_findings_of_the_newest_set_count(tmp_path: Path) -> None:
    """A set whose findings were settled is followed by one without; the words must not stay marked."""
    write_findings(tmp_path, "a" * 64, [finding("e1"), finding("e2")])
    assert [row.example_id for row in read_newest_findings(tmp_path)] == ["e1", "e2"]
    assert read_newest_findings(tmp_path, "e2") == [finding("e2")]
    write_findings(tmp_path, "b" * 64, [])
    assert read_newest_findings(tmp_path) == []


def test_words_are_marked_in_the_scanned_text_and_in_no_other() -> None:
    """A place in a text that was repaired since would mark other words."""
    found, outputs = [finding("e1")], {"f": TEXTS.output, "g": "Ask the porter about it."}
    scanned = match_scanned_text(found, TEXTS.instruction, TEXTS.input, outputs)
    assert scanned is not None
    assert [(word.text, word.part) for word in scanned.words] == [("Mrs. Oakbarrow", "output")]
    assert match_scanned_text(found, TEXTS.instruction, TEXTS.input, {"g": outputs["g"]}) is None
    assert match_scanned_text([], TEXTS.instruction, TEXTS.input, outputs) is None


@pytest.mark.slow
def test_the_evidence_of_a_set_keeps_its_form_and_the_places_point_at_the_words(
    installation_dir: Path,  # noqa: ARG001
    instance: dg.DagsterInstance,
) -> None:
    """The evidence is part of a set's fingerprint, which must not change because places are stored."""
    typed = "Ask Mrs. Henrietta Oakbarrow on 617-555-0177 about it."
    new = built([example("patient1", "Another finding.", typed)])
    scans = []

    @dg.asset(deps=["scrubbed_reports"])
    def scanned(context: dg.AssetExecutionContext, worker: Worker) -> dg.MaterializeResult:  # type: ignore[type-arg]
        scans.append(find_identifiers(context, Installation(), worker, new, DraftedExample.SCHEMA.empty_table()))
        return dg.MaterializeResult()

    dg.materialize([scanned], resources={"worker": Worker()}, instance=instance)
    (scan,) = scans
    assert set(scan.evidence) == {"findings", "texts", "scrubber_version"}
    assert {typed[row.start : row.end] for row in scan.findings if row.part == "output"} >= {"617-555-0177"}
    assert {row.example_id for row in scan.findings} == set(scan.evidence["findings"])
