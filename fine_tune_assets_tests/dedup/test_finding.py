"""Duplicates: what is dropped, what stays, and that nothing is lost."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fine_tune_assets.core.errors import TableError
from fine_tune_assets.core.fingerprints import fingerprint_text
from fine_tune_assets.core.progress import silent
from fine_tune_assets.core.tables import DUPLICATE_REPORTS, SCRUBBED_REPORTS, UNIQUE_REPORTS, check_table, table_of
from fine_tune_assets.dedup.finding import bands_for, find_duplicates, jaccard, shingles_of
from fine_tune_assets.recipes.schema import DedupSettings

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
            "scrubber_version": "v",
            "fingerprint": fingerprint_text(text),
        }
        for report_id, text in texts.items()
    ]
    return table_of(rows, SCRUBBED_REPORTS)


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
    similarity = jaccard(shingles_of(LONG, 3), shingles_of(other, 3))
    assert 0.5 < similarity < 0.8
    assert found({"b/1": LONG, "b/2": other}) == (["b/1", "b/2"], {})
    assert len(found({"b/1": LONG, "b/2": other}, DedupSettings(near_threshold=similarity))[0]) == 1


def test_the_similarity_stated_is_the_true_one() -> None:
    """A person who audits a dropped report recomputes this number."""
    changed = LONG.replace("finding30", "other")
    result = find_duplicates(reports_of({"b/1": LONG, "b/2": changed}), SETTINGS, silent)
    expected = jaccard(shingles_of(LONG, 3), shingles_of(changed, 3))
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
    check_table(result.unique, UNIQUE_REPORTS)
    check_table(result.duplicates, DUPLICATE_REPORTS)


def test_a_table_with_other_columns_is_refused() -> None:
    """Raw reports must not slip in where scrubbed ones are expected."""
    with pytest.raises(TableError):
        find_duplicates(reports_of({}).drop_columns(["span_count"]), SETTINGS, silent)


def test_progress_ends_at_the_number_of_reports() -> None:
    """Long work says how far it is, up to its end."""
    calls: list[tuple[int, int]] = []
    find_duplicates(reports_of({"b/1": "a", "b/2": "b"}), SETTINGS, lambda done, total, _: calls.append((done, total)))
    assert calls[-1] == (2, 2)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.9, 1.0])
def test_the_bands_propose_nearly_every_pair_at_the_threshold(threshold: float) -> None:
    """A pair that is never proposed is never verified."""
    bands = bands_for(threshold, 128)
    assert 1 - (1 - threshold ** (128 // bands)) ** bands >= 0.999


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
