"""YAML with duplicate keys is refused, since one of the values would be lost."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

from fine_tune_assets.core.strict_parsing import DuplicateKeyError, load_texts, load_values

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
def test_a_duplicate_key_is_refused_at_every_depth(load: Callable[[str], Any], text: str) -> None:
    """With two physicians under one key, only one name would be scrubbed."""
    with pytest.raises(DuplicateKeyError):
        load(text)


def test_the_line_and_the_key_are_named() -> None:
    """The user finds the line in an editor."""
    with pytest.raises(DuplicateKeyError, match=r"line 3 .*rank"):
        load_values("training:\n  rank: 8\n  rank: 16\n")


def test_keys_that_are_equal_in_python_are_duplicates() -> None:
    """1 and true are equal as dict keys, so one value would be lost."""
    with pytest.raises(DuplicateKeyError):
        load_values("1: a\ntrue: b\n")
    assert load_texts("1: a\ntrue: b\n") == {"1": "a", "true": "b"}


def test_equal_keys_in_two_mappings_and_merged_keys_are_allowed() -> None:
    """No value is lost there."""
    assert load_values("one: {a: 1}\nother: {a: 2}\n") == {"one": {"a": 1}, "other": {"a": 2}}
    text = "base: &base {a: 1, b: 2}\nown: {<<: *base, a: 3}\n"
    assert load_values(text)["own"] == {"a": 3, "b": 2}


def test_values_keep_their_type_or_their_spelling() -> None:
    """Recipes need typed dates, and metadata needs ids as written."""
    assert load_values("a: 2026-01-02\nb: 0123\n") == {"a": datetime.date(2026, 1, 2), "b": 83}
    assert load_texts("a: 2026-01-02\nb: 0123\n") == {"a": "2026-01-02", "b": "0123"}
    assert load_values("") is None
    assert load_texts("") is None
