"""The gate closes if the prompt contract changes between training and release."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.prompts.prompt_contract import PromptContractError, read_prompt_contract
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s05_instruction_sets.instruction_sets import defining_facts
from fine_tune_assets.defs.s08_merged_weights.merged_weights import require_prompt_contract
from fine_tune_assets.instructions.stored_sets import write_instruction_set
from fine_tune_assets.tables.training_rows import Adapter
from fine_tune_assets_tests.core.model_folders import TEMPLATE, make_model_folder
from fine_tune_assets_tests.instructions.examples import SEARCH, built
from fine_tune_assets_tests.record_factory import made

FOLDER = "base_models/tiny"


@pytest.fixture
def adapter(installation_dir: Path, instance: dg.DagsterInstance) -> Adapter:  # noqa: ARG001
    """An adapter trained on a stored set with the folder's contract."""
    recipe, root = Installation().recipe, Installation().layout.instruction_sets
    stored = write_instruction_set(root, built(), defining_facts(recipe), SEARCH)
    contract = read_prompt_contract(make_model_folder(installation_dir / FOLDER), recipe.system_prompt)
    return made(Adapter, instruction_set_fingerprint=stored.fingerprint, prompt_fingerprint=contract.fingerprint)


def test_the_contract_of_the_training_passes(adapter: Adapter) -> None:
    assert require_prompt_contract(Installation(), FOLDER, adapter).fingerprint == adapter.prompt_fingerprint


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
    """If the tokenizer files change after the training, users would get another model than was judged."""
    make_model_folder(installation_dir / FOLDER, **changes)
    with pytest.raises(GateClosedError, match="`fine-tune materialize adapters`"):
        require_prompt_contract(Installation(), FOLDER, adapter)


def test_an_adapter_of_another_system_prompt_closes_the_gate(adapter: Adapter) -> None:
    """Users would be answered with another system prompt than was judged."""
    other = read_prompt_contract(Installation().path(FOLDER), "Another prompt.")
    with pytest.raises(GateClosedError, match="`fine-tune materialize adapters`"):
        require_prompt_contract(Installation(), FOLDER, replace(adapter, prompt_fingerprint=other.fingerprint))


def test_a_folder_without_a_valid_stop_token_closes_the_gate(installation_dir: Path, adapter: Adapter) -> None:
    """The engine would not stop at the end of an answer."""
    make_model_folder(installation_dir / FOLDER, eos="<bos>")
    with pytest.raises(PromptContractError, match="eos_token_id"):
        require_prompt_contract(Installation(), FOLDER, adapter)
