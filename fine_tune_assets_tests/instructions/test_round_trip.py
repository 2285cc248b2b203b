"""What is exported can be imported: the same texts, and thus the same fingerprints. Earlier turns survive the whole way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.dataset_files.dataset_reader import open_dataset
from fine_tune_assets.dataset_files.dataset_rows import Conversation
from fine_tune_assets.instructions.assembly import InstructionSet, build_instruction_set
from fine_tune_assets.instructions.certificate import issue_certificate
from fine_tune_assets.instructions.general_data import read_general_data
from fine_tune_assets.instructions.set_exports import ALPACA, chatml_name, sharegpt_name
from fine_tune_assets.instructions.stored_sets import StoredInstructionSet, write_instruction_set
from fine_tune_assets.recipes.schema import BUNDLED
from fine_tune_assets.tables.instruction_rows import GeneralExample
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.instructions.examples import EVALUATION, PROMPT, SEARCH, approved, around, general, rules

HISTORY = [{"role": "user", "content": "Hello,\n\nwho are you?"}, {"role": "assistant", "content": "A model."}]


def with_history(history: list[dict[str, str]] | None) -> InstructionSet:
    """A set whose general examples are the bundled ones, every second with earlier turns."""
    rows = read_general_data(PROJECT_DIR / "data" / "general").table.to_pylist()
    made = [{**row, "history": history if number % 2 else None} for number, row in enumerate(rows)]
    return build_instruction_set(approved(), table_from_rows(made, GeneralExample.SCHEMA), rules(0.85), around())


@pytest.fixture(scope="module")
def built() -> InstructionSet:
    return with_history(HISTORY)


@pytest.fixture(scope="module")
def stored(built: InstructionSet, tmp_path_factory: pytest.TempPathFactory) -> StoredInstructionSet:
    return write_instruction_set(tmp_path_factory.mktemp("sets"), built, {"seed": 7}, SEARCH)


def read(path: Path) -> list[Conversation]:
    contents = [row.content for row in open_dataset(path).rows()]
    assert all(isinstance(one, Conversation) for one in contents)
    return [one for one in contents if isinstance(one, Conversation)]


def texts(one: Any) -> dict[str, str]:
    return {"instruction": one.instruction, "input": one.input, "output": one.output}


@pytest.mark.parametrize("name", [ALPACA, *(f(s) for f in (chatml_name, sharegpt_name) for s in ("train", "test"))])
def test_an_export_is_read_with_the_same_fingerprints(
    built: InstructionSet, stored: StoredInstructionSet, name: str
) -> None:
    """Also for instructions of several paragraphs, of which the bundled data have some."""
    split = name.partition(".")[0]
    rows = [row for row in built.examples.to_pylist() if row["split"] == split]
    found = read(stored.folder / name)
    expected = [{key: row[key] for key in ("instruction", "input", "output")} for row in rows]
    assert [texts(one) for one in found] == expected
    assert [[{"role": turn.role, "content": turn.content} for turn in one.history] for one in found] == [
        row["history"] or [] for row in rows
    ]
    assert {one.system for one in found} == {PROMPT}
    provenance = {row["example_id"]: row["fingerprint"] for row in built.provenance.to_pylist()}
    assert [fingerprint_json(texts(one)) for one in found] == [provenance[row["example_id"]] for row in rows]
    if split == "train":
        assert any("\n\n" in one.instruction for one in found)
        assert any(one.history for one in found)


def test_earlier_turns_reach_the_conversation_and_the_certificate(built: InstructionSet) -> None:
    """Training reads `messages`."""
    conversations = {row["example_id"]: row["messages"] for row in built.table.to_pylist()}
    examples = [row for row in built.examples.to_pylist() if row["history"]]
    for row in examples:
        system, *turns = conversations[row["example_id"]]
        assert system["role"] == "system"
        assert turns[:2] == HISTORY
        assert [turn["role"] for turn in turns[2:]] == ["user", "assistant"]
        assert turns[-1]["content"] == row["output"]
    assert len(examples) > 5
    certificate = issue_certificate(built, SEARCH)
    assert certificate.is_valid
    without = [{**row, "history": None} for row in built.examples.to_pylist()]
    changed = replace(built, examples=table_from_rows(without, built.examples.schema))
    assert issue_certificate(changed, SEARCH).mismatched_rows == len(examples)


def test_a_leak_in_an_earlier_turn_is_found() -> None:
    """The loss covers earlier answers too where the chat template marks them."""
    question = EVALUATION[0]
    leak = [{"role": "user", "content": question.input}, {"role": "assistant", "content": question.output}]
    leaking = with_history(leak)
    assert leaking.mixed[BUNDLED].dropped
    assert not any(row["history"] for row in leaking.examples.to_pylist())


def test_sets_without_earlier_turns_are_exported_as_before(tmp_path: Path) -> None:
    """No empty columns that other trainers would have to know."""
    plain = build_instruction_set(approved(), general(), rules(), around())
    folder = write_instruction_set(tmp_path, plain, {"seed": 7}, SEARCH).folder
    for name in (ALPACA, "dataset_info.json", chatml_name("train")):
        content = (folder / name).read_text(encoding="utf-8")
        assert "history" not in content
        assert name == ALPACA or '"instruction":' not in content
