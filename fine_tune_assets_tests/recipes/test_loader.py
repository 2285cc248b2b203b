"""Recipes from YAML: what is shipped loads, and what is wrong is refused by its name."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from fine_tune_assets.core.errors import RecipeError
from fine_tune_assets.recipes.loader import load_recipe, parse_recipe, plain_values, shipped_recipes
from fine_tune_assets.recipes.sections import section_fingerprints

DEMO, DEMO_OF_THE_LOOP = "demo_smollm2", "demo_loop"


def demo_values() -> dict[str, Any]:
    return dict(yaml.safe_load(shipped_recipes()[DEMO].read_text(encoding="utf-8")))


def written(folder: Path, text: str) -> str:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_shipped_recipe_loads_under_its_own_name(name: str) -> None:
    """A recipe that does not load is found here, and not by whoever brings it to a GPU server."""
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.tasks
    assert recipe.exports


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_a_recipe_that_was_written_out_with_its_defaults_is_the_same_recipe(name: str) -> None:
    """As a release carries it: somebody can train by it again."""
    written_out = yaml.safe_dump(plain_values(load_recipe(name)))
    assert parse_recipe(yaml.safe_load(written_out), "written out") == load_recipe(name)


def test_the_recipes_for_small_and_large_machines_are_shipped() -> None:
    """Those that the documentation names."""
    real = {"llama3_8b_qlora_24gb", "llama3_8b_lora_80gb", "llama3_70b_qlora_48gb"}
    assert set(shipped_recipes()) == {DEMO, DEMO_OF_THE_LOOP, *real}


def test_the_demo_of_the_loop_has_the_gates_of_the_demo() -> None:
    """It is smaller and quicker, and nothing of it is let through more easily."""
    demo, loop = load_recipe(DEMO), load_recipe(DEMO_OF_THE_LOOP)
    for section in ("gate", "canaries", "scrub", "checks", "review", "dedup"):
        assert getattr(loop, section) == getattr(demo, section), section
    judge = replace(loop.judge, test_examples=demo.judge.test_examples, max_new_tokens=demo.judge.max_new_tokens)
    assert judge == demo.judge


@pytest.mark.parametrize("name", sorted(set(shipped_recipes()) - {DEMO, DEMO_OF_THE_LOOP}))
def test_a_recipe_for_real_work_trusts_nobody(name: str) -> None:
    """Whoever copies it must decide by themselves whom to trust."""
    assert load_recipe(name).trusted_sources == {}


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_no_two_product_lines_share_a_salt(name: str) -> None:
    """With one salt, two lines would hold out the same patients, which says less about the second."""
    others = [load_recipe(other).split.salt for other in shipped_recipes() if other != name]
    assert load_recipe(name).split.salt not in others


def test_an_unknown_key_is_refused_with_its_name() -> None:
    """A misspelt setting that is silently ignored would train with the default."""
    values = demo_values()
    values["training"]["learning_rat"] = 0.001
    with pytest.raises(RecipeError, match=r"training\.learning_rat"):
        parse_recipe(values, "mine.yaml")


def test_missing_fields_are_named_all_at_once() -> None:
    """One run, one list: nobody repairs a recipe fault by fault."""
    values = demo_values()
    del values["merged_dtype"], values["gate"]["minimum_gain"]
    with pytest.raises(RecipeError, match=r"mine\.yaml") as caught:
        parse_recipe(values, "mine.yaml")
    assert "merged_dtype" in str(caught.value)
    assert "gate.minimum_gain" in str(caught.value)


def test_a_tenth_is_general_data_unless_the_recipe_says_otherwise() -> None:
    """What guards against forgetting is on by default."""
    values = demo_values()
    del values["general_fraction"]
    assert parse_recipe(values, "mine.yaml").general_fraction == 0.1


@pytest.mark.parametrize(
    "targets",
    ["embed_tokens", "all", [], ["lm_head"], ["q_proj", "model.embed_tokens"], ["wte"], [".*"], ["q_proj|lm_head"]],
)
def test_lora_on_embeddings_or_the_output_layer_is_refused(targets: object) -> None:
    """It breaks tied weights and vLLM; a pattern could hide it."""
    values = demo_values()
    values["training"]["target_modules"] = targets
    with pytest.raises(RecipeError, match=r"training\.target_modules"):
        parse_recipe(values, "mine.yaml")


@pytest.mark.parametrize("strategy", ["wrapped", "bfd_split"])
def test_packing_that_mixes_patients_is_refused_with_the_reason(strategy: str) -> None:
    """One patient's words would stand before another's in one context."""
    values = demo_values()
    values["training"]["packing"] = strategy
    with pytest.raises(RecipeError, match="patient's words follow another's"):
        parse_recipe(values, "mine.yaml")


@pytest.mark.parametrize(("field", "value", "reason"), [("method", "dora", "no kernels"), ("packing", "bfd", "apart")])
def test_what_unsloth_cannot_do_is_refused_with_the_reason(field: str, value: str, reason: str) -> None:
    """It would go on with something else, or let one patient's words follow another's."""
    values = demo_values()
    values["training"] |= {field: value}
    parse_recipe(values, "mine.yaml")
    values["training"]["engine"] = "unsloth"
    with pytest.raises(RecipeError, match=reason):
        parse_recipe(values, "mine.yaml")


def test_unsloth_trains_in_one_process() -> None:
    """Its kernels are for one GPU; several processes would each train for themselves."""
    values = demo_values()
    values["training"] |= {"engine": "unsloth", "processes": 2}
    with pytest.raises(RecipeError, match="one process"):
        parse_recipe(values, "mine.yaml")


def test_one_process_has_nobody_to_share_the_model_with() -> None:
    """Who asks for shards thinks that the model does not fit on one GPU; whole, it would fail there at night."""
    values = demo_values()
    values["training"]["sharding"] = "fsdp2"
    with pytest.raises(RecipeError, match=r"needs processes of 2 or more"):
        parse_recipe(values, "mine.yaml")
    values["training"]["processes"] = 2
    assert parse_recipe(values, "mine.yaml").training.sharding == "fsdp2"


def test_lora_sits_where_the_recipe_names_modules() -> None:
    """Attention alone is a common choice for small sets."""
    values = demo_values()
    values["training"]["target_modules"] = ["q_proj", "v_proj"]
    assert parse_recipe(values, "mine.yaml").training.target_modules == ("q_proj", "v_proj")


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("split", "test_fraction", 1.5),
        ("training", "rank", 0),
        ("training", "learning_rate", 0),
        ("gate", "minimum_gain", ""),
        ("dedup", "semantic_threshold", None),  # either would turn the search for paraphrases off
        ("dedup", "semantic_threshold", 1.0),
    ],
)
def test_a_value_out_of_its_limits_is_refused(section: str, field: str, value: object) -> None:
    """Wrong numbers are cheap here and dear after a training."""
    values = demo_values()
    values[section][field] = value
    with pytest.raises(RecipeError, match=rf"{section}\.{field}"):
        parse_recipe(values, "mine.yaml")


def test_a_yaml_syntax_error_names_the_file_and_the_place(tmp_path: Path) -> None:
    """So that an editor can be opened at the right line."""
    with pytest.raises(RecipeError, match=r"recipe\.yaml is not valid YAML(.|\n)*line 2"):
        load_recipe(written(tmp_path, "name: a\n  tasks: [\n"))


@pytest.mark.parametrize("text", ["", "just words", "[1, 2]"])
def test_a_file_that_holds_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    """An empty file is valid YAML."""
    with pytest.raises(RecipeError, match=r"Recipe recipe\.yaml"):
        load_recipe(written(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A path that was mistyped may name anything."""
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not valid YAML"):
        load_recipe(str(path))


def test_a_key_that_stands_twice_is_named(tmp_path: Path) -> None:
    """The last one would win silently: a recall floor of 0.9 far above a forgotten 0.1."""
    text = shipped_recipes()[DEMO].read_text(encoding="utf-8") + "\nsplit: {}\n"
    with pytest.raises(RecipeError, match=r"Recipe recipe\.yaml: line \d+ names the key split again"):
        load_recipe(written(tmp_path, text))


def test_a_value_that_yaml_itself_refuses_is_an_error_for_people(tmp_path: Path) -> None:
    """A day that does not exist looks like a date to the parser."""
    with pytest.raises(RecipeError, match=r"recipe\.yaml is not valid YAML: month must be"):
        load_recipe(written(tmp_path, "description: 2026-13-45\n"))


def test_a_name_that_does_not_exist_lists_the_shipped_ones() -> None:
    """What to do next is part of the error."""
    with pytest.raises(RecipeError, match="There is no recipe demo_smolm2") as caught:
        load_recipe("demo_smolm2")
    assert all(name in str(caught.value) for name in shipped_recipes())


def test_the_fingerprints_do_not_change_with_comments(tmp_path: Path) -> None:
    """A better comment must not start a training."""
    text = shipped_recipes()[DEMO].read_text(encoding="utf-8")
    commented = load_recipe(written(tmp_path, "# Another comment.\n" + text + "\n# And one more.\n"))
    assert section_fingerprints(commented) == section_fingerprints(load_recipe(DEMO))


@pytest.mark.parametrize(
    ("formats", "why"),
    [
        ({"write_plan": {"headings": ["PLAN"]}}, "no task of the recipe"),
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
def test_a_format_that_nothing_could_be_held_to_is_refused(formats: dict[str, Any], why: str) -> None:
    """A misspelt task would be checked for nothing; and nothing is fetched to check an answer."""
    with pytest.raises(RecipeError, match=why):
        parse_recipe({**demo_values(), "checks": {"formats": formats}}, "mine.yaml")


def test_a_task_may_have_a_format() -> None:
    formats = {
        "name_section": {"json_schema": {"type": "object"}},
        "chief_complaint": {"headings": [["PLAN", "/P.*/"]]},
    }
    recipe = parse_recipe({**demo_values(), "checks": {"formats": formats, "longest": 3}}, "mine.yaml")
    assert recipe.checks.formats["chief_complaint"].headings == (("PLAN", "/P.*/"),)
    assert (recipe.checks.shortest, recipe.checks.longest) == (0.5, 3.0)
