"""The prompt contract: one record, read from a folder, that changes with everything that decides how a model is asked."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.core.errors import ModelFolderError
from fine_tune_assets.core.prompts.prompt_contract import (
    PromptContract,
    PromptContractError,
    contract_from_json,
    read_prompt_contract,
)
from fine_tune_assets.core.prompts.tokenizers import FolderTokenizer
from fine_tune_assets_tests.core.model_folders import ROLES, TEMPLATE, make_model_folder

DATED = "{{ strftime_now('%d %b %Y') }}" + TEMPLATE


@pytest.fixture
def contract(tmp_path: Path) -> PromptContract:
    return read_prompt_contract(make_model_folder(tmp_path / "model", stops=["<end>", "<bos>"]), "Be brief.")


def test_it_holds_all_that_decides_how_the_model_is_asked_and_stops(tmp_path: Path, contract: PromptContract) -> None:
    """Whoever serves the model elsewhere finds it here."""
    tokenizer = FolderTokenizer(tmp_path / "model", TEMPLATE)
    assert contract.system_prompt == "Be brief."
    assert contract.chat_template == TEMPLATE
    assert {token.name: token.text for token in contract.special_tokens} == {"bos_token": "<bos>", "eos_token": "<end>"}
    assert set(contract.stop_ids) == {tokenizer.token_id("<end>"), tokenizer.token_id("<bos>")}
    assert contract.turn_end_id == tokenizer.token_id("<end>")
    assert set(contract.control_tokens) == {*ROLES, "<bos>"}


def test_it_comes_back_from_a_release_as_it_was(contract: PromptContract) -> None:
    """Its fingerprint is compared again after it was read."""
    assert contract_from_json(contract.as_json()) == contract


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
def test_its_fingerprint_changes_with_each_part(contract: PromptContract, changes: dict[str, object]) -> None:
    """A model that was judged with another part is another model."""
    assert replace(contract, **changes).fingerprint != contract.fingerprint


@pytest.mark.parametrize("part", ["system_prompt", "stop_ids", "control_tokens"])
def test_a_contract_that_lacks_a_part_is_none(contract: PromptContract, part: str) -> None:
    """What is not said could be anything."""
    values = json.loads(contract.as_json())
    del values[part]
    with pytest.raises((KeyError, TypeError)):
        contract_from_json(json.dumps(values))


def test_the_end_of_an_answer_that_no_engine_stops_at_is_refused(tmp_path: Path) -> None:
    """The model would learn to write it, and the engine would go on: answers without end."""
    folder = make_model_folder(tmp_path / "model", eos="<bos>", stops=["<bos>"])
    with pytest.raises(PromptContractError, match="ends an answer with <end>"):
        read_prompt_contract(folder, "Be brief.")
    assert read_prompt_contract(make_model_folder(tmp_path / "other", eos="<bos>", stops=["<end>"]), "Be brief.")


def test_stop_tokens_of_config_json_count_where_there_is_no_generation_config(tmp_path: Path) -> None:
    """transformers takes them from there too."""
    folder = make_model_folder(tmp_path / "model", eos="<bos>")
    end = FolderTokenizer(folder, TEMPLATE).token_id("<end>")
    (folder / "config.json").write_text(json.dumps({"eos_token_id": end}))
    assert read_prompt_contract(folder, "Be brief.").turn_end_id == end


def test_a_template_that_ends_no_answer_is_refused(tmp_path: Path) -> None:
    """Nothing would teach the model to stop."""
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    folder = make_model_folder(tmp_path / "model", template)
    with pytest.raises(PromptContractError, match="nothing behind an answer"):
        read_prompt_contract(folder, "Be brief.")


def test_a_template_that_writes_todays_date_is_refused(tmp_path: Path) -> None:
    """What is asked tomorrow would not be what was trained."""
    folder = make_model_folder(tmp_path / "model", DATED, (*ROLES, "<date>"))
    with pytest.raises(PromptContractError, match="fixed date"):
        read_prompt_contract(folder, "Be brief.")


def test_a_folder_without_a_template_is_named(tmp_path: Path) -> None:
    """A base model without instruction tuning has none."""
    folder = make_model_folder(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ModelFolderError, match="no chat template"):
        read_prompt_contract(folder, "Be brief.")
