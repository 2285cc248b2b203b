"""Duplicates: what is dropped, what stays, and that nothing is lost."""

import re
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.core.errors import TableError
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import silent
from fine_tune_assets.dedup.duplicates import Duplicates, find_duplicates
from fine_tune_assets.dedup.sketches import sketch
from fine_tune_assets.dedup.store import Store
from fine_tune_assets.dedup.workers import FEWEST_FOR_PROCESSES, open_sketchers
from fine_tune_assets.recipes.schema import DedupSettings
from fine_tune_assets.tables.dedup import DuplicateReport, UniqueReport
from fine_tune_assets.tables.phi import ScrubbedReport
from fine_tune_assets.tables.records import check_table, table_of

SETTINGS = DedupSettings(near_threshold=0.8)
LONG = " ".join(f"finding{i}" for i in range(60))


def reports_of(texts: dict[str, str]) -> pa.Table:
    rows = [
        {
            "report_id": report_id,
            "batch": "b",
            "source": "s",
            "patient_key": f"patient of {report_id}",
            "text": text,
            "tagged_text": text,
            "span_count": 0,
            "written_on": None,
            "scrubber_version": "v",
            "fingerprint": fingerprint_text(text),
        }
        for report_id, text in texts.items()
    ]
    return table_of(rows, ScrubbedReport.SCHEMA)


def shingles_of(text: str, size: int = 3) -> set[tuple[str, ...]]:
    """Said once more, plainly, so that what the arrays hold can be checked."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))} if words else set()


def jaccard(one: str, other: str) -> float:
    first, second = shingles_of(one), shingles_of(other)
    return len(first & second) / len(first | second)


def found(texts: dict[str, str], chosen: DedupSettings = SETTINGS) -> tuple[list[str], dict[str, tuple[str, str]]]:
    result = find_duplicates(reports_of(texts), chosen, silent)
    dropped = {row["dropped_id"]: (row["kept_id"], row["kind"]) for row in result.duplicates.to_pylist()}
    return result.unique.column("report_id").to_pylist(), dropped


def test_reports_that_differ_only_in_case_and_whitespace_are_exact_duplicates() -> None:
    """The same note pasted from two systems must not be trained on twice."""
    kept, dropped = found({"b/1": "Knee pain, left.", "b/2": "KNEE  pain,\n left.", "b/3": "Cough."})
    assert kept == ["b/2", "b/3"]
    assert dropped == {"b/1": ("b/2", "exact")}


def test_of_two_exact_duplicates_as_long_the_lower_id_stays() -> None:
    """Which one stays must not depend on which one came first."""
    assert found({"b/2": "Knee pain", "b/1": "knee pain"}) == (["b/1"], {"b/2": ("b/1", "exact")})


def test_a_report_with_one_changed_word_is_a_near_duplicate_of_the_longer_one() -> None:
    """Copied-forward notes differ by a word or two."""
    kept, dropped = found({"b/1": LONG, "b/2": LONG.replace("finding30", "changed-finding")})
    assert kept == ["b/2"]
    assert dropped == {"b/1": ("b/2", "near")}


def test_a_pair_below_the_threshold_keeps_both_reports() -> None:
    """The gate of this stage: MinHash may propose a pair, only the true similarity drops it."""
    other = " ".join(f"finding{i}" if i < 45 else f"other{i}" for i in range(60))
    similarity = jaccard(LONG, other)
    assert 0.5 < similarity < 0.8
    assert found({"b/1": LONG, "b/2": other}) == (["b/1", "b/2"], {})
    assert len(found({"b/1": LONG, "b/2": other}, DedupSettings(near_threshold=similarity))[0]) == 1


def test_the_similarity_stated_is_the_true_one() -> None:
    """A person who audits a dropped report recomputes this number."""
    changed = LONG.replace("finding30", "other")
    result = find_duplicates(reports_of({"b/1": LONG, "b/2": changed}), SETTINGS, silent)
    expected = jaccard(LONG, changed)
    assert result.duplicates.column("similarity").to_pylist() == [pytest.approx(expected, abs=1e-12)]


def test_copies_of_a_near_duplicate_name_the_report_that_stays() -> None:
    """`kept_id` must lead to a report that still exists."""
    near = LONG.replace("finding30", "x")
    kept, dropped = found({"b/1": LONG, "b/2": near, "b/3": near.upper()})
    assert kept == ["b/1"]
    assert dropped == {"b/2": ("b/1", "near"), "b/3": ("b/1", "near")}


def test_texts_shorter_than_a_shingle_are_compared_whole() -> None:
    """One-line sections are reports too."""
    kept, dropped = found({"b/1": "Cough", "b/2": "cough", "b/3": "No cough", "b/4": ""})
    assert kept == ["b/1", "b/3", "b/4"]
    assert dropped == {"b/2": ("b/1", "exact")}


def test_a_table_without_reports_gives_two_empty_tables() -> None:
    """The first run may come before the first batch."""
    result = find_duplicates(reports_of({}), SETTINGS, silent)
    assert (result.unique.num_rows, result.duplicates.num_rows) == (0, 0)
    check_table(result.unique, UniqueReport.SCHEMA)
    check_table(result.duplicates, DuplicateReport.SCHEMA)


def test_a_table_with_other_columns_is_refused() -> None:
    """Raw reports must not slip in where scrubbed ones are expected."""
    with pytest.raises(TableError):
        find_duplicates(reports_of({}).drop_columns(["span_count"]), SETTINGS, silent)


def test_progress_ends_at_the_number_of_reports() -> None:
    """Long work says how far it is, up to its end."""
    calls: list[tuple[int, int]] = []
    find_duplicates(reports_of({"b/1": "a", "b/2": "b"}), SETTINGS, lambda done, total, _: calls.append((done, total)))
    assert calls[-1] == (2, 2)


WORDS = st.lists(st.sampled_from(["knee", "Knee", "pain", "left", "cough", "no"]), max_size=8).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(WORDS, max_size=12), data=st.data(), threshold=st.sampled_from([0.3, 0.5, 0.8]))
def test_the_result_is_the_same_for_any_order_and_loses_no_report(
    texts: list[str], data: st.DataObject, threshold: float
) -> None:
    """A run over the same reports must not train on others because a folder was listed in another order."""
    table = reports_of({f"b/{i:02}": text for i, text in enumerate(texts)})
    order = data.draw(st.permutations(range(len(texts))))
    chosen = DedupSettings(near_threshold=threshold)
    first = find_duplicates(table, chosen, silent)
    second = find_duplicates(table.take(pa.array(order, pa.int64())), chosen, silent)
    assert first.unique.equals(second.unique)
    assert first.duplicates.equals(second.duplicates)
    kept = set(first.unique.column("report_id").to_pylist())
    dropped = first.duplicates.column("dropped_id").to_pylist()
    assert len(kept) + len(dropped) == len(texts)
    assert kept.isdisjoint(dropped)
    assert kept.issuperset(first.duplicates.column("kept_id").to_pylist())


def _words(name: str, count: int = 40) -> str:
    return " ".join(f"{name}{number}" for number in range(count))


def test_of_two_as_long_the_newer_stays_and_one_without_a_date_counts_as_older() -> None:
    """An amended report replaces the one it amends."""
    table = reports_of({"b/1": LONG, "b/2": LONG.upper(), "b/3": LONG.title()})
    dates = pa.array([None, date(2024, 3, 1), date(2023, 3, 1)], pa.date32())
    table = table.set_column(
        table.schema.get_field_index("written_on"), ScrubbedReport.SCHEMA.field("written_on"), dates
    )
    result = find_duplicates(table, SETTINGS, silent)
    assert result.unique["report_id"].to_pylist() == ["b/2"]
    assert set(result.duplicates["reason"].to_pylist()) == {"Of two as long, the newer one stays."}


def test_each_pair_says_why_the_one_stayed() -> None:
    """For a person who audits what was dropped."""
    near = LONG.replace("finding30", "x")
    rows = find_duplicates(reports_of({"b/1": LONG, "b/2": near, "b/3": LONG.upper()}), SETTINGS, silent).duplicates
    assert {row["dropped_id"]: row["reason"] for row in rows.to_pylist()} == {
        "b/2": "The longer text stays.",
        "b/3": "Of two as long and as new, the one with the lower id stays.",
    }


HEADER = "CITY HOSPITAL, DEPARTMENT OF MEDICINE\n" + _words("disclaimer", 60) + ".\n"
FEW = DedupSettings(near_threshold=0.5, boilerplate_patients=3)


def test_a_header_that_many_patients_share_makes_no_two_reports_duplicates() -> None:
    """Most of a short report is its template; without this, all normal findings would be one report."""
    texts = {f"b/{name}": HEADER + _words(name, 20) for name in ("p", "q", "r", "s")}
    assert jaccard(texts["b/p"], texts["b/q"]) > 0.5
    result = find_duplicates(reports_of(texts), FEW, silent)
    assert result.duplicates.num_rows == 0
    assert result.boilerplate == {"segments": 2, "reports_with_some": 4, "reports_of_nothing_else": 0}


def test_the_same_header_on_too_few_patients_is_no_boilerplate() -> None:
    """A gate of its own: two copies of one report would else hide each other."""
    texts = {f"b/{name}": HEADER + _words(name, 20) for name in ("p", "q")}
    assert len(found(texts, FEW)[0]) == 1


def test_a_line_of_one_patient_is_no_boilerplate_however_often_it_occurs() -> None:
    """A patient's history is copied forward from note to note."""
    table = reports_of({f"b/{name}": HEADER + _words(name, 20) for name in "pqrst"})
    patients = pa.array(["one"] * table.num_rows)
    place = table.schema.get_field_index("patient_key")
    result = find_duplicates(table.set_column(place, ScrubbedReport.SCHEMA.field("patient_key"), patients), FEW, silent)
    assert result.boilerplate["segments"] == 0
    assert result.unique.num_rows == 1


def test_exact_copies_under_many_patients_make_no_boilerplate() -> None:
    """One note that was exported under five numbers is one note; a near copy of it must still be found."""
    texts = {f"b/{number}": LONG for number in range(5)} | {"b/near": LONG.replace("finding30", "x")}
    kept, dropped = found(texts, FEW)
    assert kept == ["b/0"]
    assert dropped["b/near"] == ("b/0", "near")


def test_reports_of_nothing_but_boilerplate_are_still_exact_duplicates() -> None:
    """The same empty form twice is one too many."""
    texts = {f"b/{name}": HEADER + _words(name, 20) for name in "pqr"} | {"b/y": HEADER, "b/z": HEADER.lower()}
    result = find_duplicates(reports_of(texts), FEW, silent)
    assert result.duplicates.select(["dropped_id", "kept_id", "kind"]).to_pylist() == [
        {"dropped_id": "b/z", "kept_id": "b/y", "kind": "exact"}
    ]
    assert result.boilerplate["reports_of_nothing_else"] == 2


def test_two_different_templates_with_the_same_few_words_are_two_reports() -> None:
    """`No change.` under two templates says the same of two examinations."""
    other = _words("ultrasound", 60) + ".\n"
    texts = {f"b/{i}{name}": t + _words(name, 20) for i, t in enumerate((HEADER, other)) for name in "pqr"}
    texts |= {"b/x": HEADER + "No change today.", "b/y": other + "No change today."}
    dropped = found(texts, FEW)[1]
    assert "b/x" not in dropped
    assert "b/y" not in dropped


class Meaning:
    """Stands for the encoder: texts with the same first word mean the same. Counts what it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        self.asked += len(texts)
        vectors = np.zeros((len(texts), 8), np.float32)
        for row, text in enumerate(texts):
            vectors[row, sum(text.split()[0].encode()) % 8] = 1
        return vectors, np.ones(len(texts), np.int32)


def _by_meaning(texts: dict[str, str]) -> dict[str, str]:
    chosen = DedupSettings(near_threshold=0.8)
    rows = find_duplicates(reports_of(texts), chosen, silent, Meaning(), "v").duplicates
    return {row["dropped_id"]: row["kind"] for row in rows.to_pylist()}


def test_reports_that_mean_the_same_are_semantic_duplicates() -> None:
    texts = {"b/1": "cough " + _words("x"), "b/2": "cough " + _words("y", 30), "b/3": "knee " + _words("z")}
    assert _by_meaning({**texts}) == {}, "the words differ in their numbers"
    plain = {
        i: re.sub(r"\d+", lambda m: "abcdefghij"[int(m[0]) % 10] * (1 + int(m[0]) // 10), t) for i, t in texts.items()
    }
    assert _by_meaning(plain) == {"b/2": "semantic"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pain since 3 weeks", "pain for 5 weeks now"),
        ("pain in the left knee", "pain that the right knee has"),
        ("pain and fever", "pain but no fever"),
    ],
)
def test_what_the_encoder_does_not_see_keeps_two_reports_apart(one: str, other: str) -> None:
    """The gate of the semantic kind: numbers, sides and denials hardly move a sentence embedding."""
    assert _by_meaning({"b/1": one, "b/2": other}) == {}


def test_a_new_batch_does_not_have_the_stored_ones_computed_again(tmp_path: Path) -> None:
    """Else every month's batch would cost as much as all months before it."""
    first = reports_of({f"a/{n}": _words(f"w{n}") for n in range(6)})
    first = first.set_column(1, ScrubbedReport.SCHEMA.field("batch"), pa.array(["a"] * 6))
    second = reports_of({f"b/{n}": _words(f"w{n + 5}") for n in range(3)})
    both = pa.concat_tables([first, second])
    meaning = Meaning()

    def run(table: pa.Table) -> Duplicates:
        return find_duplicates(table, SETTINGS, silent, meaning, "v", Store(tmp_path / "dedup"))

    assert run(first).made == {"sketches": 6, "signatures": 6, "vectors": 6}
    stored = run(both)
    assert stored.made == {"sketches": 3, "signatures": 3, "vectors": 2}, "b/0 is a copy of a/5: nothing to embed"
    assert meaning.asked == 8
    assert run(both).made in ({}, {"vectors": 0})
    fresh = find_duplicates(both, SETTINGS, silent, Meaning(), "v")
    assert stored.unique.equals(fresh.unique)
    assert stored.duplicates.equals(fresh.duplicates)


def test_a_line_that_becomes_boilerplate_changes_what_was_stored(tmp_path: Path) -> None:
    """What a report is compared by depends on all others: a stored signature must not outlive that."""
    store = Store(tmp_path / "dedup")
    texts = {f"b/{name}": HEADER + _words(name, 20) for name in ("p", "q")}
    assert find_duplicates(reports_of(texts), FEW, silent, kept=store).unique.num_rows == 1
    more = reports_of({f"c/{name}": HEADER + _words(name, 20) for name in ("r", "s")})
    more = more.set_column(1, ScrubbedReport.SCHEMA.field("batch"), pa.array(["c"] * 2))
    result = find_duplicates(pa.concat_tables([reports_of(texts), more]), FEW, silent, kept=store)
    assert result.unique.num_rows == 4
    assert result.made == {"sketches": 2, "signatures": 4}


def test_the_number_of_threads_changes_nothing() -> None:
    """The same reports on a larger machine must give the same training data."""
    rng = np.random.default_rng(0)
    texts = {f"b/{n:03}": " ".join(f"w{k}" for k in rng.integers(0, 3, 12)) for n in range(120)}
    one, two = (find_duplicates(reports_of(texts), FEW, silent, threads=threads) for threads in (1, 2))
    assert one.duplicates.num_rows > 10
    assert one.unique.equals(two.unique)
    assert one.duplicates.equals(two.duplicates)


def test_sketches_are_the_same_from_any_number_of_processes() -> None:
    texts = pa.array([_words(f"note{number}w", 5) for number in range(5_000)])
    with open_sketchers(FEWEST_FOR_PROCESSES, 2) as sketchers:
        both = sketchers.sketch(texts)
    alone = sketch(texts)
    assert all(np.array_equal(getattr(both, name), getattr(alone, name)) for name in vars(alone))
