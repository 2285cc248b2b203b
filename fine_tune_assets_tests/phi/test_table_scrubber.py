"""From `Report` rows to four tables: withheld reports stop here, and each text is scrubbed once."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.files import write_table
from fine_tune_assets.core.fingerprints import fingerprint_table, fingerprint_text
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.phi import table_scrubber
from fine_tune_assets.phi.scrub_workers import ScrubItem, ScrubWorkers
from fine_tune_assets.phi.scrubber import NOT_SCRUBBED, ScrubbedText, scrubber_version
from fine_tune_assets.phi.span_cache import SpanCache
from fine_tune_assets.phi.table_scrubber import (
    CachedFinder,
    ScrubCounts,
    ScrubJob,
    ScrubOutputs,
    scrub_correction_table,
    scrub_report_table,
)
from fine_tune_assets.recipes.schema import ScrubberSettings
from fine_tune_assets.reports.archives import ReadLimits
from fine_tune_assets.reports.batch_reader import read_batch
from fine_tune_assets.tables.correction_rows import ScrubbedCorrection
from fine_tune_assets.tables.record_classes import conform, table_from_rows
from fine_tune_assets.tables.report_rows import Report
from fine_tune_assets.tables.scrubbing_rows import IdentifierValue, PhiSpan, ScrubbedReport, WithheldReport
from fine_tune_assets_tests.conftest import SAMPLE

SECRET = b"s" * 32
SCHEMAS = {
    "scrubbed": ScrubbedReport.SCHEMA,
    "spans": PhiSpan.SCHEMA,
    "withheld": WithheldReport.SCHEMA,
    "values": IdentifierValue.SCHEMA,
}
Scrub = Callable[..., tuple[dict[str, pa.Table], ScrubCounts]]


@pytest.fixture
def job(tmp_path: Path, settings: ScrubberSettings) -> ScrubJob:
    return ScrubJob(settings, SECRET, tmp_path / "cache", [], date(2026, 3, 1))


@pytest.fixture
def scrub(tmp_path: Path, job: ScrubJob) -> Scrub:
    def run(texts: Sequence[str], **changes: Any) -> tuple[dict[str, pa.Table], ScrubCounts]:
        reports, outputs = tmp_path / "in.parquet", {name: tmp_path / f"{name}.parquet" for name in SCHEMAS}
        write_table(reports, table_from_rows([_report(n, text) for n, text in enumerate(texts)], Report.SCHEMA))
        counts = scrub_report_table(reports, replace(job, **changes), ScrubOutputs(**outputs), ignore_progress)
        return {name: conform(pq.read_table(path), SCHEMAS[name]) for name, path in outputs.items()}, counts

    return run


def _report(number: int, text: str) -> dict[str, Any]:
    return {
        "report_id": f"b/{number}",
        "batch": "b",
        "source": "s",
        "subject_key": f"p{number % 2}",
        "text": text,
        "known_identifiers": [],
        "origin_file": "f",
        "written_on": date(2024, 5, 6),
        "fingerprint": "x",
    }


def test_reports_keep_their_order_with_tags_and_surrogates(scrub: Scrub, job: ScrubJob) -> None:
    """Training text reads like a report; tagged text shows reviewers where identifiers were."""
    texts = [f"Mr. Quillfeather (MRN 55839{n:02}) coughs." for n in range(40)]
    tables, counts = scrub(texts)
    rows = tables["scrubbed"].to_pylist()
    assert [row["report_id"] for row in rows] == [f"b/{n}" for n in range(40)]
    assert {row["tagged_text"] for row in rows} == {"[NAME] (MRN [MRN]) coughs."}
    for row, raw in zip(rows, texts, strict=True):
        assert row["text"].endswith(") coughs.")
        assert row["text"] != raw
        assert "Quillfeather" not in row["text"]
        assert "[" not in row["text"]
        assert row["fingerprint"] == fingerprint_text(row["text"])
        assert row["scrubber_version"] == scrubber_version(job.settings)
        assert row["span_count"] == 2
    names = {(row["subject_key"], row["text"].split(" (")[0]) for row in rows}
    assert len(names) == 2
    assert counts == ScrubCounts(40, 0, 80, 0, {"MRN": 40, "NAME": 40})
    spans = tables["spans"].to_pylist()
    found = [texts[int(s["report_id"][2:])][s["start"] : s["end"]] for s in spans]
    assert found[:2] == ["Mr. Quillfeather", "5583900"]


def test_tags_replace_surrogates_if_the_recipe_says_so(scrub: Scrub, job: ScrubJob) -> None:
    tables, _ = scrub(["Mr. Quillfeather coughs."], settings=replace(job.settings, replacement="tags"))
    (row,) = tables["scrubbed"].to_pylist()
    assert row["text"] == row["tagged_text"] == "[NAME] coughs."
    assert set(tables["values"].column("role").to_pylist()) == {"original"}


def test_report_with_residual_phi_is_withheld(scrub: Scrub, job: ScrubJob) -> None:
    """Kinds, counts and spans are stored so that a person can check; the text is in no table."""
    strict = replace(job.settings, withhold_score=0.0)
    # With a `withhold_score` of 0, the tagger doubts every remaining word.
    tables, counts = scrub(["Mr. Quillfeather", "She rests well."], settings=strict)
    assert (counts.reports, counts.withheld) == (1, 1)
    assert tables["scrubbed"].column("report_id").to_pylist() == ["b/0"]
    assert {row["report_id"] for row in tables["withheld"].to_pylist()} == {"b/1"}
    assert all(row["count"] > 0 for row in tables["withheld"].to_pylist())
    assert "rests" not in str([table.to_pylist() for table in tables.values()])


def test_empty_input_gives_four_empty_tables(scrub: Scrub) -> None:
    """A batch without readable files still passes."""
    tables, counts = scrub([])
    assert {name: table.num_rows for name, table in tables.items()} == dict.fromkeys(SCHEMAS, 0)
    assert counts == ScrubCounts(0, 0, 0, 0, {})


def test_chunks_of_reports_keep_their_spans(scrub: Scrub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both tables are read in step: if they diverged, reports would pass with all identifiers."""
    monkeypatch.setattr(table_scrubber, "BATCH_ROWS", 3)
    texts = [text for n in range(5) for text in (f"MRN 558390{n}.", "She rests.", "He rests.", "It rests.")]
    tables, _ = scrub(texts)
    counted = tables["scrubbed"].column("span_count").to_pylist()
    assert counted == [1, 0, 0, 0] * 5
    assert not any("55839" in text for text in tables["scrubbed"].column("text").to_pylist())


def test_rescrubbing_gives_the_same_tables(scrub: Scrub) -> None:
    """Results that depended on the cache would rerun everything downstream."""
    texts = [f"Zandt was seen on 03/14/20{n:02}." for n in range(40)]
    (first, fresh), (second, cached) = scrub(texts), scrub(texts)
    assert {n: fingerprint_table(t) for n, t in first.items()} == {n: fingerprint_table(t) for n, t in second.items()}
    assert (fresh.cache_hits, cached.cache_hits) == (0, 40)


def test_only_new_reports_of_a_changed_batch_are_scrubbed(scrub: Scrub, job: ScrubJob) -> None:
    """One more report in a batch of ten thousand must not take a night."""
    texts = ["Mr. Quillfeather rests.", "MRN 5583920."]
    scrub(texts)
    _, changed = scrub([*reversed(texts), "On 03/14/2024."])
    assert changed.cache_hits == 2
    _, other = scrub(texts, settings=replace(job.settings, minimum_score=0.6))
    assert other.cache_hits == 0


def test_repeated_text_in_a_batch_is_scrubbed_once(scrub: Scrub) -> None:
    tables, counts = scrub(["MRN 5583920."] * 3)
    assert counts.spans == 3
    assert tables["scrubbed"].num_rows == 3


def test_surrogate_never_equals_a_value_of_another_batch(scrub: Scrub, tmp_path: Path) -> None:
    """An invented name that belongs to a real patient in another batch would reveal that patient."""
    text = "Mr. Quillfeather rests."
    tables, _ = scrub([text])
    invented = tables["scrubbed"].column("text").to_pylist()[0].removesuffix(" rests.")
    surrogates = [row["value_hash"] for row in tables["values"].to_pylist() if row["role"] == "surrogate"]
    assert surrogates
    other = tmp_path / "other.parquet"
    write_table(
        other, table_from_rows([{"value_hash": v, "role": "original"} for v in surrogates], IdentifierValue.SCHEMA)
    )
    again, _ = scrub([text], other_values=[other])
    assert not set(surrogates) & set(again["values"].column("value_hash").to_pylist())
    assert invented not in again["scrubbed"].column("text").to_pylist()[0]


def test_values_are_stored_only_as_keyed_hashes(scrub: Scrub) -> None:
    tables, _ = scrub(["Mr. Quillfeather rests."])
    assert "quill" not in json.dumps(tables["values"].to_pylist()).lower()
    other, _ = scrub(["Mr. Quillfeather rests."], secret=b"t" * 32)
    assert not set(tables["values"].column("value_hash").to_pylist()) & set(
        other["values"].column("value_hash").to_pylist()
    )


def _corrections(*texts: tuple[str, str, str], subject_key: str = "k") -> pa.Table:
    row = {"release_id": "r", "author": "u", "subject_key": subject_key}
    return table_from_rows(
        [
            {**row, "correction_id": f"c{n}", "instruction": one, "input": two, "output": three}
            for n, (one, two, three) in enumerate(texts)
        ],
        ScrubbedCorrection.SCHEMA,
    )


def test_texts_of_a_correction_are_scrubbed_as_one(job: ScrubJob) -> None:
    """An identifier found in one is removed from all, with the same surrogate."""
    raw = _corrections(("Who is Mr. Quillfeather?", "Pain, says Quillfeather.", "Quillfeather has pain."))
    tagged = replace(job, settings=replace(job.settings, replacement="tags"))
    table, withheld = scrub_correction_table(raw, tagged, ignore_progress)
    assert withheld == {}
    (row,) = table.to_pylist()
    assert (row["instruction"], row["input"], row["output"]) == (
        "Who is [NAME]?",
        "Pain, says [NAME].",
        "[NAME] has pain.",
    )
    (row,) = scrub_correction_table(raw, job, ignore_progress)[0].to_pylist()
    name = row["output"].removesuffix(" has pain.")
    assert name in row["input"]
    assert name in row["instruction"]
    assert name != "Quillfeather"


def test_adjacent_names_do_not_join_texts(job: ScrubJob) -> None:
    """The scrubber joins two names with only a line break or control character between them."""
    raw = _corrections(("Seen by Mr. Quillfeather", "Anna Collins\n\x1e\ncoughs.", "MRN\n\n5583920"), ("", "", ""))
    tagged = replace(job, settings=replace(job.settings, replacement="tags"))
    table, _ = scrub_correction_table(raw, tagged, ignore_progress)
    first, second = table.to_pylist()
    assert first["instruction"] == "Seen by [NAME]"
    assert first["input"] == "[NAME]\n\x1e\ncoughs."
    assert "5583920" not in first["output"]
    assert (second["instruction"], second["input"], second["output"]) == ("", "", "")


def test_correction_with_residual_phi_is_withheld_and_counted(job: ScrubJob) -> None:
    strict = replace(job, settings=replace(job.settings, withhold_score=0.0))
    table, withheld = scrub_correction_table(
        _corrections(("She rests well.", "Pain is less.", "Better.")), strict, ignore_progress
    )
    assert (table.num_rows, len(withheld)) == (0, 1)
    assert all(kinds and NOT_SCRUBBED not in kinds for kinds in withheld.values())


def test_correction_without_a_subject_gets_separate_surrogates(job: ScrubJob) -> None:
    """Two strangers' names must not become one person."""
    table, _ = scrub_correction_table(
        _corrections(*[("Mr. Quillfeather", "a", "b")] * 2, subject_key=""), job, ignore_progress
    )
    one, two = table.column("instruction").to_pylist()
    assert one != two


def test_report_date_is_no_more_precise_than_the_profile_allows(scrub: Scrub, job: ScrubJob) -> None:
    """Under Safe Harbor a day is an identifier; a shifted day moves with the subject's other dates."""

    def days(**changes: Any) -> list[date]:
        tables, _ = scrub(["He coughs.", "She coughs."], settings=replace(job.settings, **changes))
        return tables["scrubbed"]["written_on"].to_pylist()

    assert days(profile="safe_harbor") == [date(2024, 1, 1)] * 2
    assert days(replacement="tags", profile="limited_dataset") == [date(2024, 1, 1)] * 2
    assert days(profile="limited_dataset") == [date(2024, 5, 6)] * 2
    shifted = days(profile="limited_dataset", shift_dates=True)
    assert shifted[0] != shifted[1]
    assert all(0 < abs((day - date(2024, 5, 6)).days) <= 365 for day in shifted)


def test_passages_of_a_correction_are_scrubbed_with_it(job: ScrubJob) -> None:
    """Includes a person named by both document and answer, in a heading or a version; the document's id is kept."""
    passage = {
        "passage_id": "p1", "title": "On Mr. Quillfeather", "source": "leave.md", "version": "4 May 2024",
        "headings": ["Quillfeather's rules"], "text": "Quillfeather has 20 days.", "labels": ["everyone"],
    }  # fmt: skip
    raw = _corrections(("How many days?", "", "Quillfeather has 20 days [1]."), ("Who?", "", "Nobody."), ("a", "", "b"))
    rows = [
        row | {"passages": passages} for row, passages in zip(raw.to_pylist(), ([passage] * 2, [], None), strict=True)
    ]
    tagged = replace(job, settings=replace(job.settings, replacement="tags"))
    table, withheld = scrub_correction_table(table_from_rows(rows, ScrubbedCorrection.SCHEMA), tagged, ignore_progress)
    first, empty, without = table.to_pylist()
    assert (withheld, first["output"], empty["passages"], without["passages"]) == (
        {},
        "[NAME] has 20 days [1].",
        [],
        None,
    )
    assert (
        first["passages"]
        == [
            passage
            | {"title": "On [NAME]", "version": "[DATE]", "headings": ["[NAME] rules"], "text": "[NAME] has 20 days."}
        ]
        * 2
    )
    one, other = scrub_correction_table(table_from_rows(rows, ScrubbedCorrection.SCHEMA), job, ignore_progress)[
        0
    ].to_pylist()[0]["passages"]
    name = one["text"].removesuffix(" has 20 days.")
    assert (one, name in one["title"], name != "Quillfeather") == (other, True, True)
    assert (
        name
        in scrub_correction_table(table_from_rows(rows, ScrubbedCorrection.SCHEMA), job, ignore_progress)[
            0
        ].to_pylist()[0]["output"]
    )


def test_correction_with_residual_phi_in_a_passage_is_withheld(job: ScrubJob) -> None:
    """Text that cannot be scrubbed is never used for training, regardless of its author."""
    strict = replace(job, settings=replace(job.settings, withhold_score=0.0))
    nothing = {"passage_id": "p1", "title": "", "source": "a.md", "version": "", "headings": [], "labels": []}
    rows = _corrections(("", "", "")).to_pylist()
    for text, withheld in (("", 0), ("She rests well. Pain is less.", 1)):
        corrections = table_from_rows([rows[0] | {"passages": [nothing | {"text": text}]}], ScrubbedCorrection.SCHEMA)
        table, count = scrub_correction_table(corrections, strict, ignore_progress)
        assert (table.num_rows, len(count)) == (1 - withheld, withheld)


def test_unchanged_sample_scrubs_equally_in_every_installation(tmp_path: Path, job: ScrubJob) -> None:
    """With other surrogates, they would train on other examples in another order."""
    batch, scrubbed = "2026-01-visit-notes", []
    for secret in (b"1" * 32, b"2" * 32):
        reports = tmp_path / "sample.parquet"
        read = read_batch(SAMPLE / "raw_reports" / batch, batch, secret, ReadLimits()).reports
        write_table(reports, read.slice(0, 3))
        outputs = ScrubOutputs(**{name: tmp_path / f"{name}.parquet" for name in SCHEMAS})
        scrub_report_table(reports, replace(job, secret=secret), outputs, ignore_progress)
        scrubbed.append(pq.read_table(outputs.scrubbed))
    assert scrubbed[0].num_rows > 0
    assert min(scrubbed[0]["span_count"].to_pylist()) > 0
    assert fingerprint_table(scrubbed[0]) == fingerprint_table(scrubbed[1])


def test_the_day_of_a_document_is_kept_where_only_personal_dates_are_identifiers(tmp_path: Path, job: ScrubJob) -> None:
    """Metadata states the date of a contract like that of a visit; a birth date in the metadata is removed in every domain."""
    known = [{"kind": "date", "value": "2026-03-02"}, {"kind": "date", "value": "1971-08-09"}]
    text = "Dated 2 March 2026. The signatory, 9 August 1971, agrees."
    texts = {}
    for domain in ("clinical", "law"):
        own = replace(job, settings=replace(job.settings, domain=domain, replacement="tags"))
        (tmp_path / domain).mkdir()
        outputs = ScrubOutputs(
            *(tmp_path / domain / f"{n}.parquet" for n in ("scrubbed", "spans", "withheld", "values"))
        )
        row = {"report_id": "b/1", "batch": "b", "source": "s", "subject_key": "p", "text": text, "origin_file": "f"}
        more = {"known_identifiers": known, "fingerprint": "f", "written_on": date(2026, 3, 2)}
        write_table(tmp_path / domain / "reports.parquet", table_from_rows([{**row, **more}], Report.SCHEMA))
        scrub_report_table(tmp_path / domain / "reports.parquet", own, outputs, ignore_progress)
        texts[domain] = pq.read_table(outputs.scrubbed).column("tagged_text").to_pylist()[0]
    assert texts["clinical"] == "Dated [DATE]. The signatory, [DATE], agrees."
    assert texts["law"] == "Dated 2 March 2026. The signatory, [DATE], agrees."


class _FailingWorkers(ScrubWorkers):
    """Workers whose processes end on each text of one word."""

    def scrub(self, items: Sequence[ScrubItem]) -> list[ScrubbedText]:
        done = super().scrub(items)
        return [
            one if " " in text else ScrubbedText("", (), {NOT_SCRUBBED: 1})
            for (text, _), one in zip(items, done, strict=True)
        ]


def test_a_text_that_was_not_scrubbed_is_tried_again_in_the_next_run(job: ScrubJob) -> None:
    """Only that text: it is withheld now, and may pass on a machine with more memory."""
    items = [("hyphenated", ()), ("She rests today.", ())]
    for _ in range(2):
        with (
            closing(SpanCache(job.cache_dir, "a version", SECRET)) as cache,
            closing(_FailingWorkers(job.settings, 1)) as workers,
        ):
            finder = CachedFinder(cache, workers)
            first, second = finder.find(items)
            assert first.residual_phi == {NOT_SCRUBBED: 1}
            assert second.residual_phi == {}
    assert finder.cache_hits == 1
