"""Statistics of a set before training: tokens, shares, and the plot."""

from fine_tune_assets.instructions.set_statistics import TokenCount, length_plot, share_table, token_table
from fine_tune_assets_tests.instructions.examples import built

COUNTS = [
    TokenCount("a", "train", 10, 4),
    TokenCount("b", "train", 30, 9),
    TokenCount("c", "validation", 31, 9),
    TokenCount("d", "test", 99, 50),
]


def test_the_token_table_has_one_row_per_split() -> None:
    """Computed by hand."""
    train, validation, test = token_table(COUNTS, 30)
    assert train == {
        "split": "train",
        "examples": 2,
        "tokens": 40,
        "supervised tokens": 13,
        "shortest": 10,
        "median": 20.0,
        "95th percentile": 30,
        "longest": 30,
        "over 30": 0,
    }
    assert (validation["over 30"], test["over 30"]) == (1, 1)


def test_the_shares_of_a_split_add_up() -> None:
    """By task and source, in the order of the splits."""
    rows = share_table(built().table)
    assert [row["split"] for row in rows] == ["train", "train", "train", "validation", "test"]
    for split in ("train", "validation", "test"):
        assert abs(sum(float(r["share"].rstrip("%")) for r in rows if r["split"] == split) - 100) <= 0.2
    assert sum(row["examples"] for row in rows) == built().table.num_rows


def test_the_plot_is_a_png_below_100_kb() -> None:
    """Dagster metadata must stay small."""
    plot = length_plot([TokenCount(str(n), "train", n % 700, n % 90) for n in range(20_000)], 512)
    assert plot.startswith(b"\x89PNG")
    assert len(plot) < 100_000
