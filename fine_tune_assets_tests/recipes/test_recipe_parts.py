"""Every field of a recipe belongs to a section, and a change affects the fingerprints of exactly those sections."""

import json
from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from typing import Any, get_type_hints

import pytest

from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import CURATION_SECTIONS
from fine_tune_assets.recipes.loader import load_recipe, parse_recipe
from fine_tune_assets.recipes.recipe_parts import (
    DESCRIPTIVE_FIELDS,
    SECTIONS,
    TICK_FIELDS,
    dump_for_release,
    section_fingerprints,
    section_values,
)
from fine_tune_assets.recipes.schema import Recipe

DEMO = load_recipe("demo_smollm2")
LIMITS = {"maximum_kl": 0.001, "minimum_top1": 0.9, "minimum_greedy_agreement": 0.5, "maximum_loss_increase": 0.1}


def _changed(path: str, value: Any) -> Recipe:
    values = asdict(DEMO)
    *parents, last = path.split(".")
    place = values
    for name in parents:
        place = place[name]
    assert place[last] != value
    place[last] = value
    return parse_recipe(values, "changed")


def _moved(changed: Recipe) -> set[str]:
    before, after = section_fingerprints(DEMO), section_fingerprints(changed)
    return {name for name in SECTIONS if before[name] != after[name]}


def test_every_field_is_in_a_section() -> None:
    """A change to a field without a section would trigger no run."""
    divided = {field for names in SECTIONS.values() for field in names} | TICK_FIELDS | DESCRIPTIVE_FIELDS
    missing = {path for path in _paths(Recipe) if path not in divided and path.partition(".")[0] not in divided}
    assert missing == set()


def _paths(schema: Any, prefix: str = "") -> Iterator[str]:
    """Every field of a dataclass; nested fields as `outer.inner`."""
    for name, kind in get_type_hints(schema).items():
        if is_dataclass(kind):
            yield from _paths(kind, f"{prefix}{name}.")
        else:
            yield prefix + name


@pytest.mark.parametrize(
    ("path", "value", "moved"),
    [
        ("scrub.minimum_score", 0.6, {"scrub"}),
        ("tagger.steps", 5, {"tagger"}),
        ("dedup.near_threshold", 0.9, {"dedup"}),
        ("trusted_sources", {}, {"trusted_sources"}),
        ("review.reviewers", 2, {"review"}),
        ("review.agreement_floor", 0.6, {"review"}),
        ("review.assignment_minutes", 5, set()),
        ("review.guidelines", {"name_section": "Few words."}, set()),
        ("system_prompt", "Be brief.", {"instructions"}),
        ("split.salt", "other", {"instructions"}),
        ("base_model.folder", "models/llama", {"base_model"}),
        ("training.rank", 8, {"training"}),
        ("training.seed", 1, {"training", "instructions"}),
        ("training.checkpoint_minutes", 1.0, set()),
        ("judge.test_examples", 20, {"judge"}),
        ("judge.ability_items", 20, {"abilities"}),
        ("judge.robustness_items", 7, {"robustness"}),
        ("judge.max_new_tokens", 9, {"judge", "robustness"}),
        ("judge.batch_size", 4, {"judge", "abilities", "robustness"}),
        ("planted_secrets", None, {"planted_secrets"}),
        ("planted_secrets.deciding_repeats", 4, {"planted_secrets"}),
        ("judge.agreement_floor", 0.9, {"gate"}),
        ("checks.maximum_length_ratio", 3.0, {"checks"}),
        ("gate.maximum_check_loss", 0.0, {"gate"}),
        ("judge.spot_checks", 5, set()),
        ("judge.accept_score", 8.0, {"gate"}),
        ("gate.minimum_gain", 1.0, {"gate"}),
        ("gate.maximum_robustness_loss", 0.1, {"gate"}),
        ("gate.maximum_ability_loss", 0.01, {"gate", "abilities"}),
        ("gate.ability_budgets", {"copa": 0.1}, {"gate", "abilities"}),
        ("gate.maximum_merge_kl", 0.001, {"gate", "weights"}),
        ("gate.minimum_merge_top1", 0.9, {"gate", "weights"}),
        ("gate.minimum_merge_greedy_agreement", 1.0, {"gate", "weights"}),
        ("gate.maximum_merge_loss_increase", 0.1, {"gate", "weights"}),
        ("gate.export_limits", {"q8_0": LIMITS}, {"gate", "exports"}),
        ("corrections.include_passages", False, {"passages"}),
        ("retrieval.template", "{passages}{question}", {"retrieval", "passages"}),
        ("retrieval.enabled", True, {"retrieval", "passages"}),
        ("retrieval.nothing_found", "Nothing.", {"retrieval"}),
        ("retrieval.minimum_score", 0.6, {"retrieval", "knowledge"}),
        ("retrieval.recall_floor", 0.5, {"knowledge"}),
        ("merged_dtype", "bfloat16", {"weights"}),
        ("exports", ["f16"], {"exports"}),
        ("retrain.minimum_new_examples", 5, set()),
        ("description", "Other words.", set()),
    ],
)
def test_a_changed_field_changes_only_its_sections(path: str, value: Any, moved: set[str]) -> None:
    """A stricter gate must not trigger a training, and a new prompt must not trigger scrubbing ten years of reports."""
    assert _moved(_changed(path, value)) == moved


def test_the_manifest_of_a_set_contains_every_curation_field_of_the_recipe() -> None:
    """Years later, the recipe's name alone does not show which task and instruction produced an example."""
    later = {
        "tagger", "base_model", "training", "judge", "abilities", "checks", "robustness", "planted_secrets", "gate", "weights",
        "exports", "engine", "retrieval", "knowledge", "drift",
    }  # fmt: skip
    assert set(CURATION_SECTIONS) == set(SECTIONS) - later
    tasks = asdict(DEMO)["tasks"]
    changed = parse_recipe({**asdict(DEMO), "tasks": [{**tasks[0], "instruction": "In other words."}, *tasks[1:]]}, "c")
    values = section_values(changed, CURATION_SECTIONS)
    assert values["tasks"]["tasks"][0]["instruction"] == "In other words."
    assert values != section_values(DEMO, CURATION_SECTIONS)
    assert json.loads(json.dumps(values)) == values


def test_a_release_does_not_contain_the_guidelines() -> None:
    """They are for the reviewers of this installation; clearer ones must not make a release look like one of another recipe."""
    without = _changed("review.guidelines", {})
    assert dump_for_release(DEMO) == dump_for_release(without)
    assert parse_recipe(dump_for_release(DEMO), "released") == without
