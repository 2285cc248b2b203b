"""Rows of a measurement of the scrubber."""

from fine_tune_assets.phi.missed_identifiers.missed_terms import REVIEWER_MARKS
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.recipes.loader import load_recipe

RECIPE = load_recipe("demo_smollm2")
VERSION = scrubber_version(RECIPE.scrubber)


def row(labelled_set: str, label: str, hits: int, total: int, measure: str = "masked_recall") -> dict[str, object]:
    share = {"hits": hits, "total": total, "value": hits / total, "low": 0.0, "high": 1.0, "scrubber_version": VERSION}
    return {"labelled_set": labelled_set, "measure": measure, "label": label, **share}


ROWS = [
    *(row("a", *figures) for figures in (("all", 99, 100), ("direct", 60, 60), ("NAME", 60, 60), ("DATE", 39, 40))),
    *(row("b", *figures) for figures in (("all", 18, 20), ("direct", 8, 10), ("NAME", 8, 10), ("DATE", 10, 10))),
    row("a", "all", 30, 1_000, "non_phi_tokens_masked"),
    row(REVIEWER_MARKS, "all", 0, 9),
    row(REVIEWER_MARKS, "NAME", 0, 9),
]
