"""Corrections of answers from documents on their way through the graph: by the recipe, and by what everybody may see."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import _curation_sections
from fine_tune_assets.defs.s05_instruction_sets.set_evidence import _restricted
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.serving_rows import KnowledgeChunk
from fine_tune_assets_tests.conftest import write_recipe
from fine_tune_assets_tests.defs.quarantined_drafts import approved, drafted, quarantined
from fine_tune_assets_tests.ledger.ledger_rows import record_decision

PASSAGE = {
    "passage_id": "p1", "title": "Leave", "source": "leave.md", "version": "2", "headings": [], "text": "Staff have 20 days.",
    "labels": ["everyone"],
}  # fmt: skip
RESTRICTED = PASSAGE | {"source": "pay.md", "labels": ["hr"]}
ON: dict[str, dict[str, Any]] = {"retrieval": {"enabled": True}, "corrections": {"maximum_author_fraction": 1.0}}
OFF = [
    {"retrieval": {"enabled": False}, "corrections": {"maximum_author_fraction": 1.0}},
    {"retrieval": {"enabled": True}, "corrections": {"maximum_author_fraction": 1.0, "include_passages": False}},
]


def corrections(*passages: list[dict[str, Any]] | None) -> pa.Table:
    """One for each, about something else each."""
    rows = [
        {
            "correction_id": f"c{number}",
            "release_id": "r",
            "author": "ward 3",
            "subject_key": f"p{number}",
            "instruction": f"How many days of leave number {number} are there?",
            "input": "",
            "output": f"There are 20 days of number {number}.",
            "knowledge_index": None if told is None else "f" * 64,
            "passages": told,
        }
        for number, told in enumerate(passages)
    ]
    return table_from_rows(rows, ScrubbedCorrection.SCHEMA)


def close(*sources: str) -> None:
    """These documents are for a label from now on, as the next reading of them finds."""
    named = {"leave.md": ["everyone"], "pay.md": ["everyone"], **{source: ["hr"] for source in sources}}
    plain = {"kind": "markdown", "title": "t", "version": "1", "heading_path": [], "text": "x", "tokens": 1}
    rows = [{"chunk_id": source, "source": source, "labels": labels, **plain} for source, labels in named.items()]
    write_table(Installation().layout.table("knowledge_chunks"), table_from_rows(rows, KnowledgeChunk.SCHEMA))


def test_a_correction_is_drafted_with_its_passages_in_the_recipes_template(installation_dir: Path) -> None:
    write_recipe(installation_dir, **ON)
    (draft,) = drafted(corrections([PASSAGE]))
    assert draft["instruction"] == Installation().recipe.retrieval.template.partition("\n\n")[0]
    assert draft["input"] == (
        "<document 1>\nLeave (version 2)\nStaff have 20 days.\n</document 1>\n\n"
        "Question: How many days of leave number 0 are there?"
    )


@pytest.mark.parametrize("off", OFF, ids=["no documents", "without passages"])
def test_where_the_recipe_does_not_ask_for_it_nothing_changes(installation_dir: Path, off: dict[str, Any]) -> None:
    """Example ids and fingerprints among it, also for one whose passages are gone."""
    write_recipe(installation_dir, **off)
    before = drafted(corrections(None, None))
    assert len(before) == 2
    assert drafted(corrections([PASSAGE], [])) == before


def test_one_whose_passages_are_gone_waits_for_an_approver_and_is_counted(installation_dir: Path) -> None:
    write_recipe(installation_dir, **ON)
    table = corrections([], [PASSAGE], None)
    made = quarantined(table)
    assert [row["state"] for row in made.value.to_pylist()] == ["pending", "clear", "clear"]
    assert made.metadata is not None
    assert made.metadata["pending"] == 1
    assert len(drafted(table)) == 2


@pytest.mark.parametrize("recipe", [ON, *OFF], ids=["on", "no documents", "without passages"])
def test_corrections_with_restricted_passages_are_not_learned(installation_dir: Path, recipe: dict[str, Any]) -> None:
    """Not with its passages and not without them: what the answer says is what the document says."""
    write_recipe(installation_dir, **recipe)
    table = corrections([PASSAGE, RESTRICTED], [PASSAGE])
    made = quarantined(table)
    assert [row["state"] for row in made.value.to_pylist()] == ["blocked", "clear"]
    assert made.metadata is not None
    assert made.metadata["restricted"] == 1
    assert [draft["report_id"] for draft in drafted(table)] == ["correction/c1"]


def test_a_document_that_is_closed_later_takes_its_approved_examples_out(installation_dir: Path) -> None:
    """Whatever makes the next set: a new correction, a decision alone, or an earlier set that is replayed."""
    write_recipe(installation_dir, **ON)
    close()
    table = corrections([PASSAGE], [PASSAGE | {"source": "pay.md"}])
    drafts = drafted(table)
    with Installation().ledger() as ledger:
        for draft in drafts:
            named = {name: draft[name] for name in ("example_id", "fingerprint", "report_id", "task")}
            record_decision(ledger, **named, decision="approve", output=None, reviewer="somebody else")
    assert approved(drafts, table).value.num_rows == 2
    close("pay.md")
    made = approved(drafts, table)
    assert (made.value["report_id"].to_pylist(), made.metadata["restricted"]) == (["correction/c0"], 1)
    assert [draft["report_id"] for draft in drafted(table)] == ["correction/c0"]
    assert _restricted(Installation()) == {"correction/c1"}


def test_a_set_records_a_passage_template_only_if_it_has_one(installation_dir: Path) -> None:
    """An earlier set keeps its name."""
    write_recipe(installation_dir, **OFF[0])
    assert "passages" not in _curation_sections(Installation().recipe)
    write_recipe(installation_dir, **ON)
    assert "passages" in _curation_sections(Installation().recipe)
