"""Duplicates across groups, which the leakage certificate relies on."""

import pytest

from fine_tune_assets.core.shared_records import TextPair
from fine_tune_assets.dedup.cross_group_pairs import pair_finder
from fine_tune_assets.recipes.schema import DedupSettings
from fine_tune_assets_tests.dedup.scrubbed_texts import LONG, ONE_WORD, Meaning, jaccard

SETTINGS = DedupSettings(near_threshold=0.5)
FIND = pair_finder(SETTINGS, None, ignore_boilerplate=True)
FIND_WHOLE = pair_finder(SETTINGS, None, ignore_boilerplate=False)


def test_only_pairs_across_groups_are_returned_by_index() -> None:
    near = LONG.replace(ONE_WORD, "x")
    texts = [near, "Cough.", LONG, LONG.upper(), "cough."]
    assert FIND(texts, ["test", "train", "train", "train", "train"]) == [
        TextPair(0, 2, "near", pytest.approx(jaccard(near, LONG), abs=1e-12)),
        TextPair(0, 3, "near", pytest.approx(jaccard(near, LONG), abs=1e-12)),
    ]
    assert FIND(texts, ["train"] * 5) == []
    assert FIND([], []) == []


def test_every_text_shared_with_another_group_is_in_a_pair() -> None:
    """A leak with a hundred copies must neither hide behind the first copy nor make ten thousand pairs."""
    texts, groups = ["cough"] * 7, ["train", "test", "train", "train", "test", "validation", "train"]
    pairs = FIND(texts, groups)
    assert {place for pair in pairs for place in (pair.first, pair.second)} == set(range(7))
    assert all(groups[p.first] != groups[p.second] and p.kind == "exact" and p.similarity == 1.0 for p in pairs)
    assert len(pairs) < 14


def test_semantic_duplicates_are_found_with_an_encoder() -> None:
    texts = ["knee is swollen and painful", "knee hurts with much swelling", "cough"]
    assert FIND(texts, ["train", "test", "test"]) == []
    (pair,) = pair_finder(SETTINGS, Meaning(), ignore_boilerplate=False)(texts, ["train", "test", "test"])
    assert (pair.first, pair.second, pair.kind, pair.similarity) == (0, 1, "semantic", pytest.approx(1.0, abs=1e-6))


def test_a_shared_instruction_is_not_leakage() -> None:
    """Each example starts with its task's instruction."""
    question = "Write the named section of the medical note from this part of the visit, and nothing else.\n"
    texts = [question + " ".join(f"{name}{n}" for n in range(12)) for name in "abcdefghijkl"]
    assert FIND(texts, ["train", "test"] * 6) == []


def test_a_copy_of_shared_phrases_is_found_by_comparing_whole_texts() -> None:
    """Without boilerplate, only one line of each text remains, which reveals nothing about the copy."""
    phrases = [" ".join(f"phrase{p}word{n}" for n in range(8)) + ".\n" for p in range(6)]
    texts = ["".join(phrases[n % 2 :: 2]) + f"Own line {n}." for n in range(24)]
    copied = "".join(phrases[::2]) + "Another line."
    groups = ["train"] * len(texts) + ["test"]
    assert FIND([*texts, copied], groups) == []
    pairs = FIND_WHOLE([*texts, copied], groups)
    assert {pair.first for pair in pairs} == set(range(0, 24, 2))
    assert all(pair.kind == "near" for pair in pairs)


def test_a_text_without_a_group_is_rejected() -> None:
    with pytest.raises(ValueError, match="group"):
        FIND(["a"], [])
