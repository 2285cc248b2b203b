"""Where sections end in reports of domains that the product was not made for."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fine_tune_assets.approval.preview_examples import INSIDE
from fine_tune_assets.approval.recipe_preview import Preview, preview_recipe
from fine_tune_assets.approval.task_kinds import ReportText
from fine_tune_assets.claims.sections import Evidence
from fine_tune_assets.recipes.schema import SectionTask
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch
from fine_tune_assets.tables.record_classes import iter_records
from fine_tune_assets_tests.approval import foreign_reports as foreign

KEY = b"k" * 32


def read(folder: Path, files: dict[str, bytes | str], batch_yaml: str = "source: site\n") -> list[ReportText]:
    (folder / "batch.yaml").write_text(batch_yaml, encoding="utf-8")
    for name, content in files.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    found = read_batch(folder, "b", KEY, ReadLimits(), is_subject_required=False)
    assert found.unreadable.num_rows == 0
    return list(iter_records(ReportText, found.reports.select(ReportText.SCHEMA.names)))


def preview(reports: list[ReportText], used: str, *others: str) -> Preview:
    task = SectionTask("task", "Write it.", (used,), used, other_headings=others)
    return preview_recipe(reports, [task], ())


def only_output(found: Preview) -> tuple[str, tuple[str, ...]]:
    (draft,) = found.drafts
    return draft.output, draft.flags


SUMMARY = foreign.DAMAGE[0][1]


@pytest.mark.parametrize(
    "make", [foreign.damage_docx, foreign.damage_docx_in_german, lambda: foreign.damage_docx(style="Heading 2")]
)
def test_a_heading_style_that_no_setting_names_ends_a_section(tmp_path: Path, make: Callable[[], bytes]) -> None:
    """An insurer's `Scope of damage` and all sections after it became part of the answer."""
    found = preview(read(tmp_path, {"a.docx": make()}), "Summary")
    assert only_output(found) == (SUMMARY, ())
    (example,) = found.examples
    ends = [(end.ended_by, end.evidence) for end in example.sections]
    assert set(ends) == {("SCOPE OF DAMAGE", Evidence.STYLE)}
    assert [one.heading for one in found.unnamed_headings if one.evidence == Evidence.STYLE][-1] == "SCOPE OF DAMAGE"


def test_a_deeper_heading_style_stays_in_its_section(tmp_path: Path) -> None:
    """The section `Summary` contains its subsections; cutting there would lose text."""
    found = preview(read(tmp_path, {"a.docx": foreign.damage_docx(inner="Heading 2")}), "Summary")
    assert only_output(found) == (f"{SUMMARY}\n\nAccess\n\nThe tenant opened the door.", ())
    assert ("Access", INSIDE) in [(one.heading, one.evidence) for one in found.unnamed_headings]


def test_a_bold_paragraph_ends_a_section_with_a_flag(tmp_path: Path) -> None:
    """Many authors make headings bold instead of using styles. Bold text may also be emphasis, so a reviewer must look."""
    output, flags = only_output(preview(read(tmp_path, {"a.docx": foreign.damage_docx_in_bold()}), "Summary"))
    assert output == SUMMARY
    assert [flag.partition(":")[0] for flag in flags] == ["possibly truncated"]


def test_bold_headings_that_a_source_repeats_are_certain_and_examples_show_each_way_to_end(tmp_path: Path) -> None:
    """Of ten reports in two styles, the first three alike would hide the other style."""
    files = {f"a{n}.docx": foreign.damage_docx_in_bold() for n in range(6)}
    found = preview(read(tmp_path, {**files, "z.docx": foreign.damage_docx()}), "Summary")
    assert {(draft.output, draft.flags) for draft in found.drafts} == {(SUMMARY, ())}
    assert len(found.examples) == 3
    assert {end.evidence for one in found.examples for end in one.sections} == {Evidence.REPEATED, Evidence.STYLE}


def test_a_markdown_section_ends_at_the_next_heading_of_its_level(tmp_path: Path) -> None:
    """With its subsection 2.1, the list under a colon, and NOTE. A recipe needs no number to name a heading."""
    output, flags = only_output(preview(read(tmp_path, {"a.md": foreign.INSPECTION}), "Findings"))
    assert output.startswith("Corrosion on both bearings.\n\n### 2.1 Deck")
    assert output.endswith("- plank 9\n\nNOTE\n\nThe handrail is sound.")
    assert flags == ()


def test_a_numbered_section_ends_at_the_next_number(tmp_path: Path) -> None:
    """Not at an item 1 or a subsection 2.1 within it."""
    found = preview(read(tmp_path, {"a.txt": foreign.INSPECTION_IN_TEXT}), "Findings")
    output, flags = only_output(found)
    assert (output[:10], output[-21:], flags) == ("Corrosion ", "Two planks are loose.", ())
    assert found.examples[0].sections[0].evidence == Evidence.NUMBER


def test_a_heading_with_a_colon_ends_a_section_with_a_flag(tmp_path: Path) -> None:
    output, flags = only_output(preview(read(tmp_path, {"a.txt": foreign.POLICE}), "Facts"))
    assert output == "The shop window was broken at about 3 am.\nSeized: one hammer."
    assert [flag.partition(":")[0] for flag in flags] == ["possibly truncated"]


@pytest.mark.parametrize(("name", "content"), [("a.html", foreign.COURT_HTML), ("a.rtf", foreign.COURT_RTF)])
def test_a_section_of_a_web_page_or_rtf_file_ends_at_a_heading(tmp_path: Path, name: str, content: str) -> None:
    """A bold sentence within a paragraph does not end a section."""
    found = preview(read(tmp_path, {name: content}), "Reasons")
    output, _ = only_output(found)
    # The bold `Order` of the RTF file is below its heading styles.
    rest = "" if name == "a.html" else "\nOrder\nThe fence is to be moved."
    assert output == f"The claim is admissible. It is also well-founded.{rest}"


def test_a_column_that_no_task_names_ends_a_section(tmp_path: Path) -> None:
    """The reader writes the column's heading, so nothing about it is uncertain; the text of a column is not cut by its form."""
    row = {"id": "1", "s": "Wet.\n\nKitchen\n\nSwollen.\n\nHall\n\nDry.", "d": "Parquet."}
    columns = "records:\n  subject_id: id\n  sections: {s: Summary, d: Scope of damage}\n"
    reports = read(tmp_path, {"a.jsonl": json.dumps(row) + "\n"}, f"source: site\n{columns}")
    assert only_output(preview(reports, "Summary")) == (row["s"], ())


def test_repetition_over_a_source_makes_a_heading_certain(tmp_path: Path) -> None:
    """In one report, a short line may be anything; in all reports of a source, it is a part of the form."""
    form = "Summary\n\nCase {} is open.\n\nScope of damage\n\nRoom {} is wet.\n\nPets\n\nNone\n\nOutlook\n\nDry by May."
    found = preview(read(tmp_path, {f"{n}.txt": form.format(n, n) for n in range(6)}), "Summary")
    assert {draft.output[-5:] for draft in found.drafts} == {"open."}
    assert {draft.flags for draft in found.drafts} == {()}
    assert len(found.examples) == 3
    assert found.examples[0].sections[0].evidence == Evidence.REPEATED
    assert "NONE" not in {one.heading for one in found.unnamed_headings if one.evidence == Evidence.REPEATED}


def test_a_heading_by_form_in_a_single_report_cuts_with_a_flag(tmp_path: Path) -> None:
    """Nothing else says whether the line is one."""
    text = "Summary\n\nCase 1 is open.\n\nScope of damage\n\nRoom 1 is wet.\n"
    output, flags = only_output(preview(read(tmp_path, {"a.txt": text}), "Summary"))
    assert output == "Case 1 is open."
    assert [flag.partition(":")[0] for flag in flags] == ["possibly truncated"]


def test_a_note_with_capitals_and_lists_is_not_cut(tmp_path: Path) -> None:
    """Capitals taken for headings once cut notes in half. A list below a colon is not a section either."""
    output, flags = only_output(preview(read(tmp_path, {"a.txt": foreign.NURSING}), "Course", "Handover"))
    assert output == foreign.NURSING.removeprefix("Course\n\n").partition("\n\nHandover")[0]
    assert flags == ()


def test_a_heading_style_on_a_sentence_cuts_with_a_flag(tmp_path: Path) -> None:
    """Some authors use heading styles for emphasis."""
    text = "# Summary\n\nWet.\n\n# The owner was informed on the same day.\n\nHe agreed.\n"
    output, flags = only_output(preview(read(tmp_path, {"a.md": text}), "Summary"))
    assert output == "Wet."
    assert flags


def test_a_title_page_does_not_hide_the_sections(tmp_path: Path) -> None:
    """Blank lines before the text are removed; the numbers of the heading lines must follow."""
    reports = read(tmp_path, {"a.md": f"\n\n\n{foreign.INSPECTION}"})
    assert only_output(preview(reports, "Scope"))[0] == "Visual inspection from the deck and from a boat."
