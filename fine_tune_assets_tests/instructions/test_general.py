"""Reading general data: both formats, what is left out, and errors that say where."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.instructions.general import GeneralDataError, read_general_data
from fine_tune_assets.tables.instructions import GeneralExample
from fine_tune_assets.tables.records import check_table

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


def test_the_alpaca_template_is_taken_off_and_source_and_licence_stay(tmp_path: Path) -> None:
    """The template would be trained in twice; the licence has to be known for every row."""
    table = read_general(write(tmp_path, dolly("What is a knee?", " A joint. ")))
    check_table(table, GeneralExample.SCHEMA)
    (row,) = table.to_pylist()
    assert (row["instruction"], row["input"], row["output"]) == ("What is a knee?", "", "A joint.")
    assert (row["source"], row["licence"]) == ("dolly", "CC BY-SA 3.0")


def test_an_alpaca_input_is_kept_apart_from_the_instruction(tmp_path: Path) -> None:
    """The prompt contract puts them together again in its own way."""
    record = {"prompt": "### Instruction:\nShorten.\n\n### Input:\nLong text.\n\n### Response:\n", "response": "Text."}
    (row,) = read_general(write(tmp_path, record)).to_pylist()
    assert (row["instruction"], row["input"]) == ("Shorten.", "Long text.")


def test_every_instance_of_a_self_instruct_task_is_an_example(tmp_path: Path) -> None:
    """A task may come with several inputs."""
    instances = [{"input": "1", "output": "odd"}, {"input": "2", "output": "even"}]
    facts = "source: seeds\nlicence: Apache-2.0\nformat: self_instruct\n"
    table = read_general(write(tmp_path, {"instruction": "Odd or even?", "instances": instances}, facts=facts))
    assert sorted(table.column("input").to_pylist()) == ["1", "2"]


def test_rows_that_are_not_fit_to_train_on_are_left_out_and_counted(tmp_path: Path) -> None:
    """What is left out must be visible, by reason."""
    records = [
        dolly("Good?"),
        dolly("Good?"),
        dolly("Empty?", " "),
        dolly("Long?", "x" * 2001),
        dolly("How to murder someone?"),
    ]
    data = read_general_data(write(tmp_path, *records))
    assert data.table.num_rows == 1
    assert data.left_out == {"dolly": {"crude": 1, "empty": 1, "repeated": 1, "too long": 1}}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("source: a\nlicence: b\n", "exactly"),
        (f"{FACTS}colour: red\n", "exactly"),
        ("source: a\nlicence: b\nformat: csv\n", "no format csv"),
        ("source: [", "not valid YAML"),
        ("source: a\nlicence:\nformat: self_instruct\n", "exactly"),
    ],
)
def test_a_source_file_with_a_fault_is_refused_by_name(tmp_path: Path, facts: str, message: str) -> None:
    """Data without a known licence is not mixed in."""
    with pytest.raises(GeneralDataError, match=message) as caught:
        read_general(write(tmp_path, dolly("Good?"), facts=facts))
    assert "dolly/source.yaml" in str(caught.value)


@pytest.mark.parametrize(
    "line", ["{not json, marker-word", '{"prompt": "marker-word", "response": "x"}', '["marker-word"]']
)
def test_a_line_that_cannot_be_read_is_named_without_its_text(tmp_path: Path, line: str) -> None:
    """The line number is enough to mend it."""
    with pytest.raises(GeneralDataError, match="line 2") as caught:
        read_general(write(tmp_path, dolly("Good?"), line))
    assert "marker-word" not in str(caught.value)


def test_a_folder_without_source_file_or_data_is_refused(tmp_path: Path) -> None:
    """Half a data set is a mistake, not an empty one."""
    (tmp_path / "nothing").mkdir()
    with pytest.raises(GeneralDataError, match=r"source\.yaml is missing"):
        read_general(tmp_path)
    (tmp_path / "nothing" / "source.yaml").write_text(FACTS)
    with pytest.raises(GeneralDataError, match=r"holds no \.jsonl"):
        read_general(tmp_path)
    with pytest.raises(GeneralDataError, match="no folder"):
        read_general(tmp_path / "absent")


def test_bytes_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    """A file in another encoding would train in garbage."""
    write(tmp_path, dolly("Good?"))
    (tmp_path / "dolly" / "examples.jsonl").write_bytes(b'{"prompt": "\xff"}')
    with pytest.raises(GeneralDataError, match="not UTF-8"):
        read_general(tmp_path)


def test_the_kind_is_what_the_source_says_or_the_source(tmp_path: Path) -> None:
    """Each kind has its share in the mix; a source that names none is one kind."""
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
