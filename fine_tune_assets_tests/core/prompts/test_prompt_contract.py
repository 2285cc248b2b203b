"""The prompt contract: read from a model folder, with a fingerprint that depends on every part."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.prompts.prompt_contract import (
    PromptContract,
    PromptContractError,
    parse_prompt_contract,
    read_prompt_contract,
)
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets_tests.core.model_folders import ROLES, TEMPLATE, make_model_folder

DATED = "{{ strftime_now('%d %b %Y') }}" + TEMPLATE


@pytest.fixture
def contract(tmp_path: Path) -> PromptContract:
    return read_prompt_contract(make_model_folder(tmp_path / "model", stops=["<end>", "<bos>"]), "Be brief.")


def test_the_contract_contains_prompt_tokens_and_stop_tokens(tmp_path: Path, contract: PromptContract) -> None:
    """Other serving systems need all of it."""
    tokenizer = FolderTokenizer(tmp_path / "model", TEMPLATE)
    assert contract.system_prompt == "Be brief."
    assert contract.chat_template == TEMPLATE
    assert {token.name: token.text for token in contract.special_tokens} == {"bos_token": "<bos>", "eos_token": "<end>"}
    assert set(contract.stop_ids) == {tokenizer.token_id("<end>"), tokenizer.token_id("<bos>")}
    assert contract.turn_end_id == tokenizer.token_id("<end>")
    assert set(contract.control_tokens) == {*ROLES, "<bos>"}


def test_the_contract_survives_serialization(contract: PromptContract) -> None:
    """Its fingerprint is compared after reading."""
    assert parse_prompt_contract(contract.as_json()) == contract


@pytest.mark.parametrize(
    "changes",
    [
        {"system_prompt": "Be long."},
        {"chat_template": TEMPLATE + " "},
        {"special_tokens": ()},
        {"stop_ids": (1,)},
        {"turn_end_id": 1},
        {"control_tokens": ("<end>",)},
    ],
)
def test_the_fingerprint_changes_with_each_part(contract: PromptContract, changes: dict[str, object]) -> None:
    """A model judged with another prompt is another model."""
    assert replace(contract, **changes).fingerprint != contract.fingerprint


@pytest.mark.parametrize("part", ["system_prompt", "stop_ids", "control_tokens"])
def test_a_contract_without_a_part_is_refused(contract: PromptContract, part: str) -> None:
    """No part has a default."""
    values = json.loads(contract.as_json())
    del values[part]
    with pytest.raises((KeyError, TypeError)):
        parse_prompt_contract(json.dumps(values))


def test_a_turn_end_that_is_not_a_stop_token_is_refused(tmp_path: Path) -> None:
    """The engine would not stop at the token that the model learned to end with."""
    folder = make_model_folder(tmp_path / "model", eos="<bos>", stops=["<bos>"])
    with pytest.raises(PromptContractError, match="<end>"):
        read_prompt_contract(folder, "Be brief.")
    assert read_prompt_contract(make_model_folder(tmp_path / "other", eos="<bos>", stops=["<end>"]), "Be brief.")


def test_stop_tokens_come_from_config_json_without_generation_config(tmp_path: Path) -> None:
    """As in Transformers."""
    folder = make_model_folder(tmp_path / "model", eos="<bos>")
    end = FolderTokenizer(folder, TEMPLATE).token_id("<end>")
    (folder / "config.json").write_text(json.dumps({"eos_token_id": end}))
    assert read_prompt_contract(folder, "Be brief.").turn_end_id == end


def test_a_template_without_a_turn_end_is_refused(tmp_path: Path) -> None:
    """The model would not learn to stop."""
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    folder = make_model_folder(tmp_path / "model", template)
    with pytest.raises(PromptContractError, match="no token after an answer"):
        read_prompt_contract(folder, "Be brief.")


def test_a_template_with_the_current_date_is_refused(tmp_path: Path) -> None:
    """The prompt would differ from the trained one."""
    folder = make_model_folder(tmp_path / "model", DATED, (*ROLES, "<date>"))
    with pytest.raises(PromptContractError, match="strftime_now"):
        read_prompt_contract(folder, "Be brief.")


def test_a_folder_without_a_chat_template_is_refused_by_name(tmp_path: Path) -> None:
    """Models without instruction tuning have none."""
    folder = make_model_folder(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelFolderError, match=folder.name):
        read_prompt_contract(folder, "Be brief.")
