"""Between training and release the prompt contract stays the same, or nothing goes on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.prompts.prompt_contract import PromptContractError, read_prompt_contract
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import deciding_facts
from fine_tune_assets.defs.s08_merged_weights.merged_weights import kept_contract
from fine_tune_assets.instructions.stored_sets import write_instruction_set
from fine_tune_assets.tables.training import Adapter
from fine_tune_assets_tests.core.model_folders import TEMPLATE, make_model_folder
from fine_tune_assets_tests.instructions.examples import SEARCH, built
from fine_tune_assets_tests.made_records import made

FOLDER = "base_models/tiny"


@pytest.fixture
def adapter(installation_dir: Path, instance: dg.DagsterInstance) -> Adapter:  # noqa: ARG001
    """Trained on a stored set with the contract of the folder."""
    recipe, root = Installation().recipe, Installation().layout.instruction_sets
    stored = write_instruction_set(root, built(), deciding_facts(recipe), SEARCH)
    contract = read_prompt_contract(make_model_folder(installation_dir / FOLDER), recipe.system_prompt)
    return made(Adapter, instruction_set_fingerprint=stored.fingerprint, prompt_fingerprint=contract.fingerprint)


def test_the_contract_of_training_goes_on(adapter: Adapter) -> None:
    """What was trained is what is asked."""
    assert kept_contract(Installation(), FOLDER, adapter).fingerprint == adapter.prompt_fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"template": TEMPLATE.replace("<{{ m.role }}>", "<{{ m.role }}> ")},
        {"bos": "<assistant>"},
        {"stops": ["<end>", "<user>"]},
    ],
    ids=["chat template", "special token", "stop token"],
)
def test_a_folder_with_another_contract_closes_the_gate(
    installation_dir: Path, adapter: Adapter, changes: dict[str, Any]
) -> None:
    """Somebody repaired the tokenizer's files after the training: users would ask another model than was judged."""
    make_model_folder(installation_dir / FOLDER, **changes)
    with pytest.raises(GateClosedError, match="not the one that the adapter was trained with"):
        kept_contract(Installation(), FOLDER, adapter)


def test_an_adapter_of_another_system_prompt_closes_the_gate(adapter: Adapter) -> None:
    """Users would be answered under other orders than were judged."""
    other = read_prompt_contract(Installation().path(FOLDER), "Another prompt.")
    with pytest.raises(GateClosedError, match="not the one that the adapter was trained with"):
        kept_contract(Installation(), FOLDER, replace(adapter, prompt_fingerprint=other.fingerprint))


def test_a_folder_that_no_longer_stops_closes_the_gate(installation_dir: Path, adapter: Adapter) -> None:
    """The end of an answer is no end to the engine any more."""
    make_model_folder(installation_dir / FOLDER, eos="<bos>")
    with pytest.raises(PromptContractError, match="would go on"):
        kept_contract(Installation(), FOLDER, adapter)
