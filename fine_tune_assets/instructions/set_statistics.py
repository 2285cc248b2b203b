"""Statistics of a finished set: token counts, shares by task and source, and overlong examples.

The caller counts tokens as the trainer does.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import pyarrow as pa

from fine_tune_assets.core.plots import make_figure, to_png
from fine_tune_assets.instructions.splits import SPLITS


@dataclass(frozen=True)
class TokenCount:
    example_id: str
    split: str
    tokens: int
    """Of prompt and answer with the stop token; compared with `max_length`."""
    supervised_tokens: int
    """Of the answer with the stop token."""


def token_table(counts: Sequence[TokenCount], max_length: int) -> list[dict[str, Any]]:
    """One row per split with examples."""
    return [
        _token_row(split, of_split, max_length)
        for split in SPLITS
        if (of_split := [c for c in counts if c.split == split])
    ]


def _token_row(split: str, counts: Sequence[TokenCount], max_length: int) -> dict[str, Any]:
    lengths = sorted(c.tokens for c in counts)
    return {
        "split": split,
        "examples": len(lengths),
        "tokens": sum(lengths),
        "supervised tokens": sum(c.supervised_tokens for c in counts),
        "shortest": lengths[0],
        "median": median(lengths),
        "95th percentile": lengths[min(len(lengths) - 1, round(0.95 * len(lengths)))],
        "longest": lengths[-1],
        f"over {max_length}": sum(length > max_length for length in lengths),
    }


def share_table(table: pa.Table) -> list[dict[str, Any]]:
    """Examples by split, task and source, with their share of the split."""
    keys = list(zip(*(table.column(name).to_pylist() for name in ("split", "task", "source")), strict=True))
    of_split = Counter(split for split, *_ in keys)
    return [
        {"split": split, "task": task, "source": source, "examples": n, "share": f"{n / of_split[split]:.1%}"}
        for (split, task, source), n in sorted(
            Counter(keys).items(), key=lambda item: (SPLITS.index(item[0][0]), item[0])
        )
    ]


def length_plot(counts: Sequence[TokenCount], max_length: int) -> bytes:
    """Histograms of the token counts of prompt plus answer and of answers, by split: a PNG below 50 KB."""
    figure, (conversations, answers) = make_figure(8, 3.2, columns=2)
    for axes, name, title in ((conversations, "tokens", "prompt and answer"), (answers, "supervised_tokens", "answer")):
        values = [[getattr(c, name) for c in counts if c.split == split] for split in SPLITS]
        axes.hist(values, bins=30, label=list(SPLITS), stacked=True)
        axes.set_xlabel(f"tokens of {title}")
        axes.set_ylabel("examples")
    conversations.axvline(max_length, color="black", linestyle="--", label="max_length")
    conversations.legend()
    return to_png(figure)
