"""Every shipped recipe loads, and an invalid field is refused by name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fine_tune_assets.approval.flags import FLAG_KINDS
from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.recipes.loader import dump_recipe, load_recipe, parse_recipe, shipped_recipes
from fine_tune_assets.recipes.recipe_parts import section_fingerprints
from fine_tune_assets.recipes.schema import BUNDLED, CORRECTION_TASK

DEMO, DEMO_OF_THE_LOOP = "demo_smollm2", "demo_loop"
OF_DOMAINS = ("law_contracts", "finance_complaints")
"""They run on a laptop, on the invented samples of their domain."""


def demo_values() -> dict[str, Any]:
    return dict(yaml.safe_load(shipped_recipes()[DEMO].read_text(encoding="utf-8")))


def written(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_loads_under_its_own_name(name: str) -> None:
    """Otherwise a broken recipe is first noticed on a GPU server."""
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.tasks
    assert recipe.exports


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_dumping_and_parsing_a_recipe_round_trips(name: str) -> None:
    """A release contains the dumped recipe, from which a user can train again."""
    written_out = yaml.safe_dump(dump_recipe(load_recipe(name)))
    assert parse_recipe(yaml.safe_load(written_out), "written out") == load_recipe(name)


def test_the_recipes_for_small_and_large_machines_are_shipped() -> None:
    """The documentation names these recipes."""
    real = {"llama3_8b_qlora_24gb", "llama3_8b_lora_80gb", "llama3_70b_qlora_48gb"}
    assert set(shipped_recipes()) == {DEMO, DEMO_OF_THE_LOOP, *OF_DOMAINS, *real}


def test_demo_loop_has_the_same_gates_as_the_demo() -> None:
    """It is smaller and faster, and its limits are equally strict."""
    demo, loop = load_recipe(DEMO), load_recipe(DEMO_OF_THE_LOOP)
    for section in ("gate", "planted_secrets", "scrub", "checks", "dedup"):
        assert getattr(loop, section) == getattr(demo, section), section
    assert replace(loop.review, guidelines={}) == replace(demo.review, guidelines={})
    judge = replace(loop.judge, test_examples=demo.judge.test_examples, max_new_tokens=demo.judge.max_new_tokens)
    assert judge == demo.judge


@pytest.mark.parametrize("name", sorted(set(shipped_recipes()) - {DEMO, DEMO_OF_THE_LOOP, *OF_DOMAINS}))
def test_a_production_recipe_has_no_trusted_sources(name: str) -> None:
    """A user who copies it must choose which sources to trust."""
    assert load_recipe(name).trusted_sources == {}


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_no_two_product_lines_share_a_salt(name: str) -> None:
    """With a shared salt, two product lines would have the same test subjects, a weaker test of the second one."""
    others = [load_recipe(other).split.salt for other in shipped_recipes() if other != name]
    assert load_recipe(name).split.salt not in others


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_task_of_a_shipped_recipe_has_guidelines(name: str) -> None:
    """Reviewers of one task must agree on what they reject."""
    recipe = load_recipe(name)
    assert set(recipe.review.guidelines) == {*(task.name for task in recipe.tasks), CORRECTION_TASK}


def test_guidelines_of_an_unknown_task_are_refused() -> None:
    """A misspelt name would show no guidelines."""
    values = demo_values()
    values["review"]["guidelines"]["cheif_complaint"] = "Few words."
    with pytest.raises(RecipeError, match="cheif_complaint"):
        parse_recipe(values, "mine.yaml")


def test_an_unknown_key_is_refused_by_name() -> None:
    """If a misspelt field were ignored, training would use the default."""
    values = demo_values()
    values["training"]["learning_rat"] = 0.001
    with pytest.raises(RecipeError, match=r"training\.learning_rat"):
        parse_recipe(values, "mine.yaml")


def test_all_missing_fields_are_reported_together() -> None:
    """One run lists every missing field."""
    values = demo_values()
    del values["merged_dtype"], values["gate"]["minimum_gain"]
    with pytest.raises(RecipeError, match=r"mine\.yaml") as caught:
        parse_recipe(values, "mine.yaml")
    assert "merged_dtype" in str(caught.value)
    assert "gate.minimum_gain" in str(caught.value)


def test_the_mix_has_a_tenth_of_bundled_data_by_default() -> None:
    """Protection against forgetting is on by default."""
    values = demo_values()
    del values["mix"]
    assert parse_recipe(values, "mine.yaml").mix == {BUNDLED: 0.1}


@pytest.mark.parametrize(
    ("mix", "fault"),
    [({"bundled": 0.6, "chats": 0.4}, "below 1"), ({"chats": -0.1}, r"mix\.chats"), ({"../up": 0.1}, "mix")],
)
def test_a_mix_without_room_for_approved_examples_or_with_a_path_is_refused(mix: dict[str, float], fault: str) -> None:
    with pytest.raises(RecipeError, match=fault):
        parse_recipe({**demo_values(), "mix": mix}, "mine.yaml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"general_fraction": 0.2}, ("general_fraction", "`mix: {bundled: …}`")),
        ({"general_fraction": 0.2, "replay_fraction": 0.05}, ("replay_fraction", "`mix: {previous_set: …}`")),
        ({"sweep": {"parameters": {"rank": [8, 16]}, "seed": 1}}, ("sweep", "in training")),
        ({"sweep": None}, ("sweep", "in training")),
        (
            {"tasks": [{"name": "values", "kind": "fields", "instruction": "Name them."}]},
            ("kind: fields", "kind model"),
        ),
        ({"reviewed_flags": ["label noise", "flag contradicts range"]}, ("flag contradicts range", "from the list")),
    ],
)
def test_a_recipe_with_a_removed_field_is_refused_with_what_to_write(old: dict[str, Any], new: tuple[str, str]) -> None:
    """The error is the migration."""
    with pytest.raises(RecipeError, match=r"^Recipe mine\.yaml: ") as caught:
        parse_recipe({**demo_values(), **old}, "mine.yaml")
    assert all(part in str(caught.value) for part in new)


def test_the_name_of_a_removed_field_may_be_used_elsewhere() -> None:
    """A data set called `sweep` is not the section `sweep`."""
    assert parse_recipe({**demo_values(), "mix": {"sweep": 0.1}}, "mine.yaml").mix == {"sweep": 0.1}


@pytest.mark.parametrize(
    "values", [None, [], "sweep", {"tasks": "sweep"}, {"tasks": [["kind"]], 1: 2}, {"mix": [None]}]
)
def test_a_recipe_that_is_no_recipe_is_refused(values: Any) -> None:
    """The search for removed fields comes first, so it must not stumble over any YAML."""
    with pytest.raises(RecipeError, match=r"^Recipe mine\.yaml: "):
        parse_recipe(values, "mine.yaml")


@pytest.mark.parametrize(
    ("kind", "named"), [("formula", "kind: verifier"), (["formula"], "verifier"), ("no", "verifier")]
)
def test_a_recipe_with_a_removed_kind_of_judge_is_refused_with_what_to_write(kind: Any, named: str) -> None:
    values = demo_values()
    with pytest.raises(RecipeError, match=r"^Recipe mine\.yaml: judge\.kind: ") as caught:
        parse_recipe({**values, "judge": {**values["judge"], "kind": kind}}, "mine.yaml")
    assert ("kind: formula" in str(caught.value)) is (kind == "formula")
    assert named in str(caught.value)


def test_a_recipe_without_a_kind_of_judge_has_the_verifier() -> None:
    """It needs nothing that a checkout lacks."""
    values = demo_values()
    judge = {name: value for name, value in values["judge"].items() if name != "kind"}
    assert parse_recipe({**values, "judge": judge}, "mine.yaml").judge.kind == "verifier"


def test_all_reviewed_flags_are_every_kind_of_flag() -> None:
    """The dumped recipe lists the kinds, so that a version with another kind drafts again."""
    recipe = parse_recipe({**demo_values(), "reviewed_flags": "all"}, "mine.yaml")
    assert recipe.reviewed_flags == FLAG_KINDS
    assert parse_recipe(dump_recipe(recipe), "dumped").reviewed_flags == FLAG_KINDS
    with pytest.raises(RecipeError, match="reviewed_flags"):
        parse_recipe({**demo_values(), "reviewed_flags": "none"}, "mine.yaml")


@pytest.mark.parametrize(
    "targets",
    ["embed_tokens", "all", [], ["lm_head"], ["q_proj", "model.embed_tokens"], ["wte"], [".*"], ["q_proj|lm_head"]],
)
def test_lora_on_embeddings_or_the_output_layer_is_refused(targets: object) -> None:
    """It breaks tied weights and vLLM. A pattern could match such a module unnoticed."""
    values = demo_values()
    values["training"]["target_modules"] = targets
    with pytest.raises(RecipeError, match=r"training\.target_modules"):
        parse_recipe(values, "mine.yaml")


@pytest.mark.parametrize("strategy", ["wrapped", "bfd_split"])
def test_packing_that_mixes_subjects_is_refused(strategy: str) -> None:
    """Two subjects would share one context."""
    values = demo_values()
    values["training"]["packing"] = strategy
    with pytest.raises(RecipeError, match=strategy):
        parse_recipe(values, "mine.yaml")


@pytest.mark.parametrize(
    ("field", "value", "reason"), [("method", "dora", "method dora"), ("packing", "bfd", "use packing never or auto")]
)
def test_a_setting_that_unsloth_does_not_support_is_refused(field: str, value: str, reason: str) -> None:
    """Unsloth would silently do something else, or mix two subjects in one context."""
    values = demo_values()
    values["training"] |= {field: value}
    parse_recipe(values, "mine.yaml")
    values["training"]["engine"] = "unsloth"
    with pytest.raises(RecipeError, match=reason):
        parse_recipe(values, "mine.yaml")


def test_an_adapter_that_vllm_cannot_apply_is_not_what_a_recipe_serves() -> None:
    """Otherwise the export fails only after the training, and nothing is released."""
    values = demo_values() | {"engine": "vllm", "exports": ["lora_safetensors"]}
    parse_recipe(values, "mine.yaml")
    values["training"]["method"] = "dora"
    with pytest.raises(RecipeError, match="dora"):
        parse_recipe(values, "mine.yaml")
    parse_recipe(values | {"exports": ["q8_0", "lora_safetensors"]}, "mine.yaml")


def test_unsloth_trains_in_one_process() -> None:
    """Its kernels are for one GPU; each of several processes would train a separate model."""
    values = demo_values()
    values["training"] |= {"engine": "unsloth", "processes": 2}
    with pytest.raises(RecipeError, match="one process"):
        parse_recipe(values, "mine.yaml")


def test_sharding_needs_at_least_two_processes() -> None:
    """A recipe with sharding expects that the model does not fit on one GPU; unsharded, training would run out of memory."""
    values = demo_values()
    values["training"]["sharding"] = "fsdp2"
    with pytest.raises(RecipeError, match=r"needs processes of 2 or more"):
        parse_recipe(values, "mine.yaml")
    values["training"]["processes"] = 2
    assert parse_recipe(values, "mine.yaml").training.sharding == "fsdp2"


def test_lora_is_applied_to_the_modules_of_the_recipe() -> None:
    """Attention alone is a common choice for small sets."""
    values = demo_values()
    values["training"]["target_modules"] = ["q_proj", "v_proj"]
    assert parse_recipe(values, "mine.yaml").training.target_modules == ("q_proj", "v_proj")


@pytest.mark.parametrize("section", ["prompt", "judge"])
def test_variables_of_the_chat_template_are_text_numbers_or_switches(section: str) -> None:
    """They become part of a template: a value with braces would be code."""
    values = demo_values()
    values.setdefault(section, {})["template_kwargs"] = {"enable_thinking": False, "date_string": "26 Jul 2024"}
    found = getattr(parse_recipe(values, "mine.yaml"), section).template_kwargs
    assert found == {"enable_thinking": False, "date_string": "26 Jul 2024"}
    for name, value in (("x", "{{ 1 }}"), ("x", [1]), ("messages", "a"), ("eos_token", "a"), ("a b", "c"), ("x", "é")):
        values[section]["template_kwargs"] = {name: value}
        with pytest.raises(RecipeError, match=rf"{section}\.template_kwargs"):
            parse_recipe(values, "mine.yaml")


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("split", "test_fraction", 1.5),
        ("training", "rank", 0),
        ("training", "learning_rate", 0),
        ("gate", "minimum_gain", ""),
        ("dedup", "semantic_threshold", None),  # either would disable the search for paraphrases
        ("dedup", "semantic_threshold", 1.0),
    ],
)
def test_a_value_out_of_range_is_refused(section: str, field: str, value: object) -> None:
    """A wrong number found here costs nothing; found after training, it costs the training."""
    values = demo_values()
    values[section][field] = value
    with pytest.raises(RecipeError, match=rf"{section}\.{field}"):
        parse_recipe(values, "mine.yaml")


def test_a_yaml_syntax_error_names_the_file_and_the_line(tmp_path: Path) -> None:
    """The user can open the file at that line."""
    with pytest.raises(RecipeError, match=r"recipe\.yaml(.|\n)*line 2"):
        load_recipe(written(tmp_path, "name: a\n  tasks: [\n"))


@pytest.mark.parametrize("text", ["", "just words", "[1, 2]"])
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, text: str) -> None:
    """An empty file is valid YAML."""
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(written(tmp_path, text))


def test_a_binary_file_is_refused(tmp_path: Path) -> None:
    """A mistyped path can name any file."""
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(str(path))


def test_a_repeated_key_is_named(tmp_path: Path) -> None:
    """The last value would win silently: a forgotten recall floor of 0.1 below one of 0.9."""
    text = shipped_recipes()[DEMO].read_text(encoding="utf-8") + "\nsplit: {}\n"
    with pytest.raises(RecipeError, match=r"recipe\.yaml: line \d+ .*\bsplit\b"):
        load_recipe(written(tmp_path, text))


def test_an_invalid_date_is_reported_as_a_recipe_error(tmp_path: Path) -> None:
    """The YAML parser raises its own error for a date that does not exist."""
    with pytest.raises(RecipeError, match=r"recipe\.yaml.*month"):
        load_recipe(written(tmp_path, "description: 2026-13-45\n"))


def test_an_unknown_recipe_name_lists_the_shipped_recipes() -> None:
    """The error contains the names to choose from."""
    with pytest.raises(RecipeError, match="demo_smolm2") as caught:
        load_recipe("demo_smolm2")
    assert all(name in str(caught.value) for name in shipped_recipes())


def test_the_fingerprints_do_not_change_with_comments(tmp_path: Path) -> None:
    """A changed comment must not start a training."""
    text = shipped_recipes()[DEMO].read_text(encoding="utf-8")
    commented = load_recipe(written(tmp_path, "# Another comment.\n" + text + "\n# Another one.\n"))
    assert section_fingerprints(commented) == section_fingerprints(load_recipe(DEMO))


@pytest.mark.parametrize(
    ("formats", "why"),
    [
        ({"write_plan": {"headings": ["PLAN"]}}, "write_plan"),
        ({"name_section": {}}, "either headings or json_schema"),
        (
            {"name_section": {"headings": ["PLAN"], "json_schema": {"type": "object"}}},
            "either headings or json_schema",
        ),
        ({"name_section": {"json_schema": {"type": "objekt"}}}, "no JSON schema"),
        (
            {"name_section": {"json_schema": {"items": {"$ref": "https://example.org/s.json"}}}},
            "another file or address",
        ),
    ],
)
def test_an_unusable_answer_format_is_refused(formats: dict[str, Any], why: str) -> None:
    """A format of a misspelt task would never apply, and a check must not fetch a remote schema."""
    with pytest.raises(RecipeError, match=why):
        parse_recipe({**demo_values(), "checks": {"formats": formats}}, "mine.yaml")


def test_a_task_may_have_a_format() -> None:
    formats = {"name_section": {"headings": [["PLAN", "/P.*/"]]}}
    recipe = parse_recipe({**demo_values(), "checks": {"formats": formats, "maximum_length_ratio": 3}}, "mine.yaml")
    assert recipe.checks.formats["name_section"].headings == (("PLAN", "/P.*/"),)
    assert (recipe.checks.minimum_length_ratio, recipe.checks.maximum_length_ratio) == (0.5, 3.0)
