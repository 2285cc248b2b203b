"""Which duplicates are dropped, which are kept, and that none is lost."""

from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.core.errors import TableError
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.dedup.duplicates import Duplicates, find_duplicates
from fine_tune_assets.dedup.sketch_store import FileStore
from fine_tune_assets.dedup.sketch_workers import MIN_PARALLEL_TEXTS, open_sketch_pool
from fine_tune_assets.dedup.sketches import sketch_texts
from fine_tune_assets.recipes.schema import DedupSettings
from fine_tune_assets.tables.dedup_rows import ConflictingReport, DuplicateReport, UniqueReport
from fine_tune_assets.tables.record_classes import check_table
from fine_tune_assets.tables.scrubbing_rows import ScrubbedReport
from fine_tune_assets_tests.dedup.scrubbed_texts import (
    LONG,
    ONE_WORD,
    SETTINGS,
    Meaning,
    distinct_words,
    jaccard,
    reports_of,
)


def deduplicate(
    texts: dict[str, str], chosen: DedupSettings = SETTINGS
) -> tuple[list[str], dict[str, tuple[str, str]]]:
    result = find_duplicates(reports_of(texts), chosen, ignore_progress)
    dropped = {row["dropped_id"]: (row["kept_id"], row["kind"]) for row in result.duplicates.to_pylist()}
    return result.unique.column("report_id").to_pylist(), dropped


def test_case_and_whitespace_do_not_distinguish_exact_duplicates() -> None:
    """The same note pasted from two systems must not be trained on twice."""
    kept, dropped = deduplicate({"b/1": "Knee pain, left.", "b/2": "KNEE  pain,\n left.", "b/3": "Cough."})
    assert kept == ["b/2", "b/3"]
    assert dropped == {"b/1": ("b/2", "exact")}


def test_of_exact_duplicates_of_equal_length_the_lower_id_is_kept() -> None:
    """The choice must not depend on the order of arrival."""
    assert deduplicate({"b/2": "Knee pain", "b/1": "knee pain"}) == (["b/1"], {"b/2": ("b/1", "exact")})


def test_one_changed_word_makes_a_near_duplicate_of_the_longer_report() -> None:
    """Copied-forward notes differ by a word or two."""
    kept, dropped = deduplicate({"b/1": LONG, "b/2": LONG.replace(ONE_WORD, "changed-finding")})
    assert kept == ["b/2"]
    assert dropped == {"b/1": ("b/2", "near")}


def test_below_the_threshold_both_reports_are_kept() -> None:
    """The gate: MinHash may propose a pair, but only the exact similarity drops a report."""
    other = " ".join([*LONG.split()[:45], *distinct_words("other", 15).split()])
    similarity = jaccard(LONG, other)
    assert 0.5 < similarity < 0.8
    assert deduplicate({"b/1": LONG, "b/2": other}) == (["b/1", "b/2"], {})
    assert len(deduplicate({"b/1": LONG, "b/2": other}, DedupSettings(near_threshold=similarity))[0]) == 1


def test_the_stated_similarity_is_exact() -> None:
    """An auditor of a dropped report can recompute it."""
    changed = LONG.replace(ONE_WORD, "other")
    result = find_duplicates(reports_of({"b/1": LONG, "b/2": changed}), SETTINGS, ignore_progress)
    expected = jaccard(LONG, changed)
    assert result.duplicates.column("similarity").to_pylist() == [pytest.approx(expected, abs=1e-12)]


def test_copies_of_a_near_duplicate_name_the_kept_report() -> None:
    """`kept_id` must lead to an existing report."""
    near = LONG.replace(ONE_WORD, "x")
    kept, dropped = deduplicate({"b/1": LONG, "b/2": near, "b/3": near.upper()})
    assert kept == ["b/1"]
    assert dropped == {"b/2": ("b/1", "near"), "b/3": ("b/1", "near")}


def test_texts_shorter_than_a_shingle_are_compared_as_a_whole() -> None:
    """One-line sections are reports too."""
    kept, dropped = deduplicate({"b/1": "Cough", "b/2": "cough", "b/3": "No cough", "b/4": ""})
    assert kept == ["b/1", "b/3", "b/4"]
    assert dropped == {"b/2": ("b/1", "exact")}


def test_an_empty_table_gives_two_empty_tables() -> None:
    """The first run may precede the first batch."""
    result = find_duplicates(reports_of({}), SETTINGS, ignore_progress)
    assert (result.unique.num_rows, result.duplicates.num_rows) == (0, 0)
    check_table(result.unique, UniqueReport.SCHEMA)
    check_table(result.duplicates, DuplicateReport.SCHEMA)


def test_a_table_with_other_columns_is_rejected() -> None:
    """Raw reports must not be accepted in place of scrubbed ones."""
    with pytest.raises(TableError):
        find_duplicates(reports_of({}).drop_columns(["span_count"]), SETTINGS, ignore_progress)


def test_progress_ends_at_the_number_of_reports() -> None:
    """Long steps report their progress up to the end."""
    calls: list[tuple[int, int]] = []
    find_duplicates(reports_of({"b/1": "a", "b/2": "b"}), SETTINGS, lambda done, total, _: calls.append((done, total)))
    assert calls[-1] == (2, 2)


WORDS = st.lists(st.sampled_from(["knee", "Knee", "pain", "left", "cough", "no"]), max_size=8).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(WORDS, max_size=12), data=st.data(), threshold=st.sampled_from([0.3, 0.5, 0.8]))
def test_the_result_is_independent_of_order_and_loses_no_report(
    texts: list[str], data: st.DataObject, threshold: float
) -> None:
    """Listing a folder in another order must not change the training data."""
    table = reports_of({f"b/{i:02}": text for i, text in enumerate(texts)})
    order = data.draw(st.permutations(range(len(texts))))
    chosen = DedupSettings(near_threshold=threshold)
    first = find_duplicates(table, chosen, ignore_progress)
    second = find_duplicates(table.take(pa.array(order, pa.int64())), chosen, ignore_progress)
    assert first.unique.equals(second.unique)
    assert first.duplicates.equals(second.duplicates)
    kept = set(first.unique.column("report_id").to_pylist())
    dropped = first.duplicates.column("dropped_id").to_pylist()
    assert len(kept) + len(dropped) == len(texts)
    assert kept.isdisjoint(dropped)
    assert kept.issuperset(first.duplicates.column("kept_id").to_pylist())


def test_of_equal_length_the_newer_report_is_kept_and_undated_ones_are_older() -> None:
    """An amended report replaces the original."""
    table = reports_of({"b/1": LONG, "b/2": LONG.upper(), "b/3": LONG.title()})
    dates = pa.array([None, date(2024, 3, 1), date(2023, 3, 1)], pa.date32())
    table = table.set_column(
        table.schema.get_field_index("written_on"), ScrubbedReport.SCHEMA.field("written_on"), dates
    )
    result = find_duplicates(table, SETTINGS, ignore_progress)
    assert result.unique["report_id"].to_pylist() == ["b/2"]
    (reason,) = set(result.duplicates["reason"].to_pylist())
    assert "newer" in reason


def test_each_pair_states_why_one_report_was_kept() -> None:
    """For an auditor of the dropped reports."""
    near = LONG.replace(ONE_WORD, "x")
    rows = find_duplicates(
        reports_of({"b/1": LONG, "b/2": near, "b/3": LONG.upper()}), SETTINGS, ignore_progress
    ).duplicates
    reasons = {row["dropped_id"]: row["reason"] for row in rows.to_pylist()}
    assert reasons.keys() == {"b/2", "b/3"}
    assert "longer" in reasons["b/2"]
    assert "lower id" in reasons["b/3"]


HEADER = "CITY HOSPITAL, DEPARTMENT OF MEDICINE\n" + distinct_words("disclaimer", 60) + ".\n"
FEW = DedupSettings(near_threshold=0.5, boilerplate_subjects=3)


def test_a_header_shared_by_many_subjects_makes_no_duplicates() -> None:
    """Short reports consist mostly of their template; without this rule, all normal findings would be one report."""
    texts = {f"b/{name}": HEADER + distinct_words(name, 20) for name in ("p", "q", "r", "s")}
    assert jaccard(texts["b/p"], texts["b/q"]) > 0.5
    result = find_duplicates(reports_of(texts), FEW, ignore_progress)
    assert result.duplicates.num_rows == 0
    assert result.boilerplate == {"segments": 2, "reports_with_boilerplate": 4, "reports_of_boilerplate_only": 0}


def test_a_header_of_too_few_subjects_is_not_boilerplate() -> None:
    """Otherwise two copies of one report would hide each other."""
    texts = {f"b/{name}": HEADER + distinct_words(name, 20) for name in ("p", "q")}
    assert len(deduplicate(texts, FEW)[0]) == 1


def test_a_repeated_line_of_one_subject_is_not_boilerplate() -> None:
    """A subject's history is copied forward from note to note."""
    texts = {f"b/{name}": HEADER + distinct_words(name, 20) for name in "pqrst"}
    result = find_duplicates(reports_of(texts, "one"), FEW, ignore_progress)
    assert result.boilerplate["segments"] == 0
    assert result.unique.num_rows == 1


def test_exact_copies_under_many_subjects_are_not_boilerplate() -> None:
    """A note exported under five numbers is one note; near copies must still be found."""
    texts = {f"b/{number}": LONG for number in range(5)} | {"b/near": LONG.replace(ONE_WORD, "x")}
    kept, dropped = deduplicate(texts, FEW)
    assert kept == ["b/0"]
    assert dropped["b/near"] == ("b/0", "near")


def test_reports_of_boilerplate_only_are_still_exact_duplicates() -> None:
    """Two copies of an empty form are one too many."""
    texts = {f"b/{name}": HEADER + distinct_words(name, 20) for name in "pqr"} | {"b/y": HEADER, "b/z": HEADER.lower()}
    result = find_duplicates(reports_of(texts), FEW, ignore_progress)
    assert result.duplicates.select(["dropped_id", "kept_id", "kind"]).to_pylist() == [
        {"dropped_id": "b/z", "kept_id": "b/y", "kind": "exact"}
    ]
    assert result.boilerplate["reports_of_boilerplate_only"] == 2


def test_different_templates_with_the_same_few_words_are_two_reports() -> None:
    """`No change.` under two templates refers to two examinations."""
    other = distinct_words("ultrasound", 60) + ".\n"
    texts = {f"b/{i}{name}": t + distinct_words(name, 20) for i, t in enumerate((HEADER, other)) for name in "pqr"}
    texts |= {"b/x": HEADER + "No change today.", "b/y": other + "No change today."}
    dropped = deduplicate(texts, FEW)[1]
    assert "b/x" not in dropped
    assert "b/y" not in dropped


SENTENCES = [distinct_words(f"sentence{chr(97 + number)}", 8) + ".\n" for number in range(12)]


def test_reports_composed_of_a_source_s_stock_sentences_are_not_duplicates() -> None:
    """Surveys share sentences of a template. The few that are rare enough to be compared must not decide for the whole report."""
    rare = distinct_words("rare", 24) + ".\n"
    texts = {
        f"b/{number:02}": SENTENCES[number % 12] + distinct_words(f"own{chr(97 + number)}", 9) for number in range(24)
    }
    texts |= {"c/1": "".join(SENTENCES[:6]) + rare, "c/2": "".join(SENTENCES[6:]) + rare}
    kept, dropped = deduplicate(texts, FEW)
    assert dropped == {}
    assert len(kept) == 26


def test_a_copy_with_a_template_around_it_is_still_dropped() -> None:
    """The other side: one report, exported once with and once without a letterhead."""
    texts = {f"b/{name}": HEADER + distinct_words(name, 20) for name in "pqrs"} | {"c/p": distinct_words("p", 20)}
    assert jaccard(texts["b/p"], texts["c/p"]) < FEW.near_threshold
    assert deduplicate(texts, FEW)[1] == {"c/p": ("b/p", "near")}


CONFLICTS = [
    ("40 mg daily", "80 mg daily", ["numbers"]),
    ("in the left knee", "in the right knee", ["sides"]),
    ("and has fever", "and has no fever", ["negations"]),
]


@pytest.mark.parametrize(("one", "other", "kinds"), CONFLICTS)
def test_near_copies_of_two_subjects_with_conflicting_facts_are_both_kept_and_listed(
    one: str, other: str, kinds: list[str]
) -> None:
    """Nothing is lost in silence: they are two reports, and the table of the pair says why both stay."""
    result = find_duplicates(reports_of({"b/1": f"{LONG} {one}", "b/2": f"{LONG} {other}"}), SETTINGS, ignore_progress)
    assert result.unique["report_id"].to_pylist() == ["b/1", "b/2"]
    assert result.duplicates.num_rows == 0
    (pair,) = result.conflicting.to_pylist()
    assert {pair["report_id"], pair["other_id"]} == {"b/1", "b/2"}
    assert pair["conflicts"] == kinds
    assert pair["similarity"] > 0.8
    check_table(result.conflicting, ConflictingReport.SCHEMA)


@pytest.mark.parametrize(("one", "other", "kinds"), CONFLICTS)
def test_a_clear_copy_of_one_subject_with_conflicting_facts_is_dropped_and_says_so(
    one: str, other: str, kinds: list[str]
) -> None:
    """An amended report replaces the original; its conflicts go to a reviewer."""
    texts = {"b/1": f"{LONG} {one}", "b/2": f"{LONG} {other}"}
    result = find_duplicates(reports_of(texts, "one"), SETTINGS, ignore_progress)
    (pair,) = result.duplicates.to_pylist()
    assert pair["conflicts"] == kinds
    assert result.conflicting.num_rows == 0


def test_a_doubtful_copy_of_one_subject_is_dropped_only_without_a_conflict() -> None:
    """The next visit is written over the last one: other figures make it another report."""
    chosen, other = (
        DedupSettings(near_threshold=0.5),
        " ".join([*LONG.split()[:48], *distinct_words("other", 12).split()]),
    )
    assert 0.5 < jaccard(LONG, other) < 0.8
    for figures, kept in ((("", ""), 1), ((" 12 mm", " 19 mm"), 2)):
        texts = {"b/1": LONG + figures[0], "b/2": other + figures[1]}
        result = find_duplicates(reports_of(texts, "one"), chosen, ignore_progress)
        assert (result.unique.num_rows, result.conflicting.num_rows) == (kept, kept - 1)


def test_a_pair_with_a_dropped_report_is_not_listed_as_kept() -> None:
    """The list names only reports that exist after this stage."""
    texts = {"b/1": f"{LONG} 40 mg and more", "b/2": f"{LONG} 80 mg taken", "b/3": f"{LONG} 80 mg"}
    result = find_duplicates(reports_of(texts), SETTINGS, ignore_progress)
    assert result.duplicates["dropped_id"].to_pylist() == ["b/3"]
    assert [(row["report_id"], row["other_id"]) for row in result.conflicting.to_pylist()] == [("b/2", "b/1")]


def _by_meaning(texts: dict[str, str]) -> dict[str, str]:
    chosen = DedupSettings(near_threshold=0.8)
    rows = find_duplicates(reports_of(texts), chosen, ignore_progress, Meaning(), "v").duplicates
    return {row["dropped_id"]: row["kind"] for row in rows.to_pylist()}


def test_reports_with_the_same_meaning_are_semantic_duplicates() -> None:
    texts = {
        "b/1": "cough " + distinct_words("x"),
        "b/2": "cough " + distinct_words("y", 30),
        "b/3": "knee " + distinct_words("z"),
    }
    assert _by_meaning(texts) == {"b/2": "semantic"}
    assert _by_meaning(texts | {"b/1": texts["b/1"] + " 40 mg", "b/2": texts["b/2"] + " 80 mg"}) == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pain since 3 weeks", "pain for 5 weeks now"),
        ("pain in the left knee", "pain that the right knee has"),
        ("pain and fever", "pain but no fever"),
    ],
)
def test_differences_invisible_to_the_encoder_keep_both_reports(one: str, other: str) -> None:
    """The gate for semantic duplicates: numbers, sides and negations hardly change a sentence embedding."""
    assert _by_meaning({"b/1": one, "b/2": other}) == {}


def test_a_new_batch_does_not_recompute_stored_batches(tmp_path: Path) -> None:
    """Otherwise each month's batch would cost as much as all earlier ones."""
    first = reports_of({f"a/{n}": distinct_words(f"w{n}") for n in range(6)})
    first = first.set_column(1, ScrubbedReport.SCHEMA.field("batch"), pa.array(["a"] * 6))
    second = reports_of({f"b/{n}": distinct_words(f"w{n + 5}") for n in range(3)})
    both = pa.concat_tables([first, second])
    meaning = Meaning()

    def run(table: pa.Table) -> Duplicates:
        return find_duplicates(table, SETTINGS, ignore_progress, meaning, "v", FileStore(tmp_path / "dedup"))

    assert run(first).computed == {"sketches": 6, "signatures": 6, "vectors": 6}
    stored = run(both)
    assert stored.computed == {"sketches": 3, "signatures": 3, "vectors": 2}, "b/0 is a copy of a/5: nothing to embed"
    assert meaning.encoded == 8
    assert run(both).computed in ({}, {"vectors": 0})
    fresh = find_duplicates(both, SETTINGS, ignore_progress, Meaning(), "v")
    assert stored.unique.equals(fresh.unique)
    assert stored.duplicates.equals(fresh.duplicates)


def test_a_line_that_becomes_boilerplate_invalidates_stored_signatures(tmp_path: Path) -> None:
    """Boilerplate depends on all reports, so stored signatures must not outlive a change."""
    store = FileStore(tmp_path / "dedup")
    texts = {f"b/{name}": HEADER + distinct_words(name, 20) for name in ("p", "q")}
    assert find_duplicates(reports_of(texts), FEW, ignore_progress, store=store).unique.num_rows == 1
    more = reports_of({f"c/{name}": HEADER + distinct_words(name, 20) for name in ("r", "s")})
    more = more.set_column(1, ScrubbedReport.SCHEMA.field("batch"), pa.array(["c"] * 2))
    result = find_duplicates(pa.concat_tables([reports_of(texts), more]), FEW, ignore_progress, store=store)
    assert result.unique.num_rows == 4
    assert result.computed == {"sketches": 2, "signatures": 4}


def test_the_number_of_threads_does_not_change_the_result() -> None:
    """A larger machine must produce the same training data."""
    rng = np.random.default_rng(0)
    texts = {f"b/{n:03}": " ".join(f"w{k}" for k in rng.integers(0, 3, 12)) for n in range(120)}
    one, two = (find_duplicates(reports_of(texts), FEW, ignore_progress, threads=threads) for threads in (1, 2))
    assert one.duplicates.num_rows > 10
    assert one.unique.equals(two.unique)
    assert one.duplicates.equals(two.duplicates)


def test_the_number_of_processes_does_not_change_sketches() -> None:
    texts = pa.array([distinct_words(f"note{number}w", 5) for number in range(5_000)])
    with open_sketch_pool(MIN_PARALLEL_TEXTS, 2) as sketchers:
        both = sketchers.sketch(texts)
    alone = sketch_texts(texts)
    assert all(np.array_equal(getattr(both, name), getattr(alone, name)) for name in vars(alone))
