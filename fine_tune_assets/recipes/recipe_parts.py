"""Which part of a recipe decides what: so that a changed gate does not train, and a changed prompt does not scrub again.

Owns the division and the fingerprint of each part. Does not know which asset reads which part.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.loader import dump_recipe
from fine_tune_assets.recipes.schema import Recipe

SECTIONS: Mapping[str, tuple[str, ...]] = {
    "subjects": ("reports_without_subject",),
    "scrub": ("scrub", "domain"),
    "tagger": ("tagger",),
    "dedup": ("dedup",),
    "tasks": ("tasks", "reviewed_flags", "domain"),
    "trusted_sources": ("trusted_sources",),
    "review": ("review.reviewers", "review.own_edits", "review.agreement_floor", "review.minimum_pairs"),
    "instructions": ("domain", "name", "system_prompt", "mix", "split", "training.seed"),
    "base_model": ("base_model", "prompt"),
    "training": ("training",),
    "checks": ("checks", "domain"),
    "abilities": ("judge.ability_items", "judge.batch_size", "gate.maximum_ability_loss", "gate.ability_budgets"),
    "robustness": ("judge.robustness_items", "judge.max_new_tokens", "judge.batch_size"),
    "planted_secrets": ("planted_secrets",),
    "gate": ("gate", "judge.agreement_floor", "judge.accept_score"),
    "judge": (
        "domain",
        "judge.test_examples",
        "judge.max_new_tokens",
        "judge.batch_size",
        "judge.kind",
        "judge.rubric",
        "judge.verifier",
        "judge.backend",
        "judge.model",
        "judge.retries",
        "judge.context_tokens",
        "judge.template_kwargs",
        "judge.engine",
    ),
    "weights": (
        "merged_dtype",
        "gate.maximum_merge_kl",
        "gate.minimum_merge_top1",
        "gate.minimum_merge_greedy_agreement",
        "gate.maximum_merge_loss_increase",
    ),
    "exports": ("exports", "gate.export_limits"),
    "engine": ("engine",),
    "corrections": (
        "corrections.maximum_author_fraction",
        "corrections.maximum_near_identical",
        "corrections.outlier_distance",
        "corrections.outlier_minimum_examples",
    ),
    "passages": ("corrections.include_passages", "retrieval.enabled", "retrieval.template"),
    "drift": ("drift",),
    "retrieval": (
        "retrieval.enabled",
        "retrieval.template",
        "retrieval.nothing_found",
        "retrieval.passages",
        "retrieval.minimum_score",
    ),
    "knowledge": (
        "retrieval.chunk_tokens",
        "retrieval.passages",
        "retrieval.minimum_score",
        "retrieval.recall_floor",
        "retrieval.mrr_floor",
        "retrieval.refusal_rate_floor",
    ),
}
"""Section → the fields of the recipe in it."""
PACK_PARTS: Mapping[str, tuple[str, ...]] = {
    "scrub": ("scrub", "labelled_sets"),
    "tasks": ("sections", "checks"),
    "checks": ("sections", "checks"),
    "instructions": ("final_texts",),
    "judge": ("checks", "rubric"),
}
"""Section → the parts of the domain pack in it: its `domain` is their fingerprint, so that another pack changes nothing here."""

TICK_FIELDS = frozenset(
    {"retrain", "corrections.minimum_new", "review.assignment_minutes", "judge.spot_checks", "judge.concurrency"}
)
"""Fields that set start times, waiting times or the amount of human review, and do not change results."""
DESCRIPTIVE_FIELDS = frozenset({"description", "review.guidelines"})
NEUTRAL_FIELDS = frozenset({"training.checkpoint_minutes"})
"""Fields that set how often files are written. A change does not trigger training."""


def dump_for_release(recipe: Recipe) -> dict[str, Any]:
    """The recipe that a release contains: without the guidelines, which only reviewers of this installation read."""
    values = dump_recipe(recipe)
    del values["review"]["guidelines"]
    return values


def section_fingerprints(recipe: Recipe) -> dict[str, str]:
    """Section → fingerprint of its fields' values. Comments and layout of the YAML file do not matter."""
    return {name: fingerprint_json(values) for name, values in section_values(recipe, SECTIONS).items()}


def section_values(recipe: Recipe, sections: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Section → field → value, as JSON has them."""
    values = dump_recipe(recipe)
    for field in NEUTRAL_FIELDS:
        outer, name = field.split(".")
        del values[outer][name]
    pack = load_pack(recipe.domain)
    found: dict[str, dict[str, Any]] = {}
    for name in sections:
        parts = {"domain": pack.fingerprint(PACK_PARTS[name])} if name in PACK_PARTS else {}
        found[name] = {field: _get_value(values, field) for field in SECTIONS[name]} | parts
        if name == "subjects":  # metadata of reports may state these kinds
            found[name]["kinds"] = list(pack.pack.own_kinds)
    return found


def _get_value(values: Any, dotted: str) -> Any:
    for name in dotted.split("."):
        values = values[name]
    return values
