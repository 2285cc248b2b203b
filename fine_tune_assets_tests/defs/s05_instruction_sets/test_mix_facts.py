"""What a stored set says about its mix, and what it omits so that existing sets keep their fingerprint."""

from dataclasses import replace

import pyarrow as pa

from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import curation_values, defining_facts, mix_evidence
from fine_tune_assets.defs.s05_instruction_sets.set_evidence import leak_search
from fine_tune_assets.instructions.assembly import build_instruction_set
from fine_tune_assets.recipes.loader import load_recipe
from fine_tune_assets.recipes.schema import BUNDLED, PREVIOUS_SET
from fine_tune_assets_tests.instructions.examples import approved, around, built, general, rules

DEMO = load_recipe("demo_smollm2")


def test_a_set_with_bundled_data_alone_keeps_the_facts_that_name_it() -> None:
    """Other facts give an unchanged set another fingerprint, and it would be trained and judged again."""
    facts, values = defining_facts(DEMO), curation_values(DEMO)["instructions"]
    assert sorted(facts) == [
        "general_fraction", "recipe", "seed", "split_salt", "system_prompt", "test_fraction", "validation_fraction",
    ]  # fmt: skip
    assert sorted(values) == [
        "general_fraction", "name", "replay_fraction", "split", "system_prompt", "training.seed",
    ]  # fmt: skip
    assert (facts["general_fraction"], values["replay_fraction"]) == (0.1, 0.0)
    assert mix_evidence(built()) == {}


def test_a_set_with_imported_data_states_weights_and_what_was_left_out() -> None:
    """An auditor sees where the training data came from."""
    recipe = replace(DEMO, mix={BUNDLED: 0.1, "chats": 0.2, PREVIOUS_SET: 0.05})
    for found in (defining_facts(recipe), curation_values(recipe)["instructions"]):
        assert (found["general_fraction"], found["replay_fraction"], found["mix"]) == (0.1, 0.05, {"chats": 0.2})
    rows = general({"chats": 3}, "Chat {}?", "chats")
    made = build_instruction_set(approved(), rows, rules(0, chats=0.4), around())
    assert mix_evidence(made) == {"mix": {"chats": {"wanted": made.mixed["chats"].wanted, "given": 3, "left_out": {}}}}


def test_a_set_states_that_only_changed_texts_were_searched_for_identifiers() -> None:
    """An auditor sees which texts the last search before training covered."""
    assert curation_values(load_recipe("law_contracts"))["instructions"]["final_texts"] == "changed"
    assert "final_texts" not in curation_values(DEMO)["instructions"]


def test_a_rated_answer_of_the_judges_test_is_not_mixed_in() -> None:
    """The search reads every labelled set, the pairs and the rated summaries."""
    from fine_tune_assets.defs.platform.resources import Installation

    with leak_search(Installation()) as search:
        assert {text.text_id.partition(" ")[0] for text in search.judged} >= {"rated_summaries"}
        copied = [
            {**row, "instruction": text.input} for row, text in zip(general().to_pylist(), search.judged, strict=False)
        ]
        table = pa.Table.from_pylist(copied[:5], general().schema)
        made = build_instruction_set(approved(), table, rules(0.5), around(leak_search=search))
    assert len(made.mixed[BUNDLED].dropped) == 5
