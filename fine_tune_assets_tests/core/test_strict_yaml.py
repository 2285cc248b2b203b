"""YAML without repeated keys: of two values with one name none may be lost silently."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from fine_tune_assets.core.strict_parsing import RepeatedKeyError, load_texts, load_values

LOADERS = [load_values, load_texts]


@pytest.mark.parametrize("load", LOADERS)
@pytest.mark.parametrize(
    "text",
    [
        "a: 1\nb: 2\na: 3\n",
        "top:\n  a: 1\n  'a': 2\n",
        "- {x: {a: 1, a: 1}}\n",
        "a: &one {x: 1}\nb: {x: 1, x: 2}\n",
    ],
)
def test_a_repeated_key_is_refused_at_every_depth(load: Callable[[str], Any], text: str) -> None:
    """Two physicians, one identifier removed: the other stays in what is trained on."""
    with pytest.raises(RepeatedKeyError):
        load(text)


def test_the_line_and_the_key_are_named() -> None:
    """So that an editor can be opened at the right line."""
    with pytest.raises(RepeatedKeyError, match="line 3 names the key rank again"):
        load_values("training:\n  rank: 8\n  rank: 16\n")


def test_keys_that_are_one_to_python_are_one_here() -> None:
    """1 and true would share a place in the mapping, and one value would be lost."""
    with pytest.raises(RepeatedKeyError):
        load_values("1: a\ntrue: b\n")
    assert load_texts("1: a\ntrue: b\n") == {"1": "a", "true": "b"}


def test_the_same_key_in_two_mappings_and_a_merged_one_are_fine() -> None:
    """Only a value that would be lost is a fault."""
    assert load_values("one: {a: 1}\nother: {a: 2}\n") == {"one": {"a": 1}, "other": {"a": 2}}
    text = "base: &base {a: 1, b: 2}\nown: {<<: *base, a: 3}\n"
    assert load_values(text)["own"] == {"a": 3, "b": 2}


def test_values_keep_their_kind_or_their_writing() -> None:
    """A date is a date in a recipe; an id is what was written."""
    assert load_values("a: 2026-01-02\nb: 0123\n") == {"a": datetime.date(2026, 1, 2), "b": 83}
    assert load_texts("a: 2026-01-02\nb: 0123\n") == {"a": "2026-01-02", "b": "0123"}
    assert load_values("") is None
    assert load_texts("") is None
