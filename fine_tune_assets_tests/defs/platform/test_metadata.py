"""Metadata for the Dagster UI."""

import base64

import pyarrow as pa

from fine_tune_assets.defs.platform.metadata import bar_table, count_values, plot


def test_bars_are_as_long_as_their_figures() -> None:
    """The longest has thirty characters; nothing has none."""
    lines = bar_table("kind", {"name": 30, "date": 15, "other": 0}).value.splitlines()
    assert [line.count("█") for line in lines] == [0, 0, 30, 15, 0]
    assert bar_table("kind", {"all": 0}).value.count("█") == 0
    assert bar_table("kind", {}).value == "No rows."


def test_values_are_counted_from_the_most_frequent_on() -> None:
    column = pa.chunked_array([["b", "a"], ["b", "c"]])
    assert list(count_values(column).items()) == [("b", 2), ("a", 1), ("c", 1)]


def test_a_plot_is_shown_inline() -> None:
    """The UI has no other place for a picture."""
    shown = plot("loss", b"png").value
    assert shown == f"![loss](data:image/png;base64,{base64.b64encode(b'png').decode()})"
    assert plot("loss", base64.b64encode(b"png").decode()).value == shown
