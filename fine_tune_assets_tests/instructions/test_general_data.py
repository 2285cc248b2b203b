"""Reading general data: both formats, skipped rows, and errors with their position."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.instructions.general_data import GeneralDataError, read_general_data
from fine_tune_assets.tables.instruction_rows import GeneralExample
from fine_tune_assets.tables.record_classes import check_table

ALPACA = "Below is an instruction.\n\n### Instruction:\n{}\n\n### Response:\n"
FACTS = "source: dolly\nlicence: CC BY-SA 3.0\nformat: dolly_hhrlhf\n"


def dolly(question: str, answer: str = "Yes.") -> dict[str, str]:
    return {"prompt": ALPACA.format(question), "response": answer}


def write(root: Path, *records: Any, facts: str = FACTS, folder: str = "dolly") -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "source.yaml").write_text(facts)
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    (root / folder / "examples.jsonl").write_text("\n".join(lines))
    return root


def read_general(folder: Path) -> pa.Table:
    return read_general_data(folder).table


def test_the_alpaca_template_is_removed_and_source_and_licence_stay(tmp_path: Path) -> None:
    """The template would be applied twice in training, and every row needs a licence."""
    table = read_general(write(tmp_path, dolly("What is a knee?", " A joint. ")))
    check_table(table, GeneralExample.SCHEMA)
    (row,) = table.to_pylist()
    assert (row["instruction"], row["input"], row["output"]) == ("What is a knee?", "", "A joint.")
    assert (row["source"], row["licence"]) == ("dolly", "CC BY-SA 3.0")


def test_an_alpaca_input_is_separated_from_the_instruction(tmp_path: Path) -> None:
    """The prompt contract joins them in its own format."""
    record = {"prompt": "### Instruction:\nShorten.\n\n### Input:\nLong text.\n\n### Response:\n", "response": "Text."}
    (row,) = read_general(write(tmp_path, record)).to_pylist()
    assert (row["instruction"], row["input"]) == ("Shorten.", "Long text.")


def test_every_instance_of_a_self_instruct_task_is_an_example(tmp_path: Path) -> None:
    """A task may have several inputs."""
    instances = [{"input": "1", "output": "odd"}, {"input": "2", "output": "even"}]
    facts = "source: seeds\nlicence: Apache-2.0\nformat: self_instruct\n"
    table = read_general(write(tmp_path, {"instruction": "Odd or even?", "instances": instances}, facts=facts))
    assert sorted(table.column("input").to_pylist()) == ["1", "2"]


def test_unsuitable_rows_are_skipped_and_counted(tmp_path: Path) -> None:
    """Skipped rows must be visible, by reason."""
    records = [
        dolly("Good?"),
        dolly("Good?"),
        dolly("Empty?", " "),
        dolly("Long?", "x" * 2001),
        dolly("How to murder someone?"),
    ]
    data = read_general_data(write(tmp_path, *records))
    assert data.table.num_rows == 1
    assert data.skipped == {"dolly": {"offensive": 1, "empty": 1, "repeated": 1, "too long": 1}}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("source: a\nlicence: b\n", "exactly"),
        (f"{FACTS}colour: red\n", "exactly"),
        ("source: a\nlicence: b\nformat: csv\n", "csv"),
        ("source: [", "YAML"),
        ("source: a\nlicence:\nformat: self_instruct\n", "exactly"),
    ],
)
def test_an_invalid_source_file_is_refused_by_name(tmp_path: Path, facts: str, message: str) -> None:
    """Data without a known licence must not be mixed in."""
    with pytest.raises(GeneralDataError, match=message) as caught:
        read_general(write(tmp_path, dolly("Good?"), facts=facts))
    assert "dolly/source.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "line", ["{not json, marker-word", '{"prompt": "marker-word", "response": "x"}', '["marker-word"]']
)
def test_an_invalid_line_is_named_without_its_text(tmp_path: Path, line: str) -> None:
    """The line number is enough to fix it."""
    with pytest.raises(GeneralDataError, match="line 2") as caught:
        read_general(write(tmp_path, dolly("Good?"), line))
    assert "marker-word" not in str(caught.value)


def test_a_folder_without_source_file_or_data_is_refused(tmp_path: Path) -> None:
    """An incomplete data set is an error, not an empty set."""
    (tmp_path / "nothing").mkdir()
    with pytest.raises(GeneralDataError, match=r"nothing/source\.yaml"):
        read_general(tmp_path)
    (tmp_path / "nothing" / "source.yaml").write_text(FACTS)
    with pytest.raises(GeneralDataError, match=r"^nothing .*\.jsonl"):
        read_general(tmp_path)
    with pytest.raises(GeneralDataError, match="absent"):
        read_general(tmp_path / "absent")


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """A file in another encoding would add garbage to the training data."""
    write(tmp_path, dolly("Good?"))
    (tmp_path / "dolly" / "examples.jsonl").write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(GeneralDataError, match="not UTF-8"):
        read_general(tmp_path)


def test_the_kind_comes_from_the_record_or_is_the_source(tmp_path: Path) -> None:
    """Each kind has its share in the mix; a source without kinds counts as one."""
    write(tmp_path, dolly("Open?"), {**dolly("Closed?"), "category": "closed_qa"})
    instances = [{"input": "", "output": "yes"}]
    facts = "source: seeds\nlicence: Apache-2.0\nformat: self_instruct\n"
    tasks = [
        {"instruction": f"Task {kind}", "instances": instances, "is_classification": kind} for kind in (True, False)
    ]
    table = read_general(write(tmp_path, *tasks, facts=facts, folder="seeds"))
    kinds = {row["instruction"]: row["kind"] for row in table.to_pylist()}
    assert kinds == {
        "Open?": "dolly",
        "Closed?": "closed_qa",
        "Task True": "classification",
        "Task False": "generation",
    }
