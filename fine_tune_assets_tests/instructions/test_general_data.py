"""Reading general data: the bundled formats and imports, earlier turns, and skipped rows."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.dataset_files.dataset_rows import Refusal
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
    ("line", "reason"),
    [
        ("{not json, marker-word", Refusal.NOT_JSON),
        ('{"prompt": "marker-word", "response": "x"}', Refusal.NO_TEMPLATE),
        ('["marker-word"]', Refusal.NOT_AN_OBJECT),
        ('{"prompt": "\udcff"}', Refusal.NOT_UTF8),
    ],
)
def test_a_faulty_line_is_counted_and_does_not_stop_the_stage(tmp_path: Path, line: str, reason: Refusal) -> None:
    """One row of a million must not stop the set."""
    folder = write(tmp_path, dolly("Good?"))
    path = folder / "dolly" / "examples.jsonl"
    path.write_bytes(b"\n".join([line.encode("utf-8", "surrogateescape"), path.read_bytes(), b""]))
    data = read_general_data(folder)
    assert data.table.num_rows == 1
    assert data.skipped == {"dolly": {reason.value: 1}}


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


CHAT_FACTS = "source: chats\nlicence: MIT\nformat: messages\n"


def chat(*contents: str, **more: str) -> dict[str, Any]:
    turns = [{"role": "assistant" if n % 2 else "user", "content": content} for n, content in enumerate(contents)]
    return {"messages": [{"role": "system", "content": "Be odd."}, *turns], **more}


def test_earlier_turns_of_messages_are_kept(tmp_path: Path) -> None:
    """They are part of the example's identity; the recipe's system prompt takes the place of the data set's."""
    rows = [
        chat("Hello.", " Hi. ", "Translate.\n\nMaison", "House"),
        chat("Translate.\n\nMaison", "House", kind="words"),
    ]
    earlier, single = sorted(
        read_general(write(tmp_path, *rows, facts=CHAT_FACTS)).to_pylist(), key=lambda row: row["history"] is None
    )
    assert earlier["history"] == [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hi."}]
    assert single["history"] is None
    for row in (earlier, single):
        assert (row["instruction"], row["input"], row["output"]) == ("Translate.", "Maison", "House")
    assert (earlier["kind"], single["kind"]) == ("chats", "words")
    texts = {"instruction": "Translate.", "input": "Maison", "output": "House"}
    assert single["fingerprint"] == fingerprint_json(texts)
    assert earlier["fingerprint"] == fingerprint_json({**texts, "history": earlier["history"]})


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (("x" * 1500, "Yes.", "x" * 600, "Yes."), "too long"),
        (("How to murder?", "No.", "Why?", "So."), "offensive"),
        (("Hello.", "Hi.<|im_end|>", "Why?", "So."), "control token"),
        (("Why?", "So.</s>"), "control token"),
    ],
)
def test_earlier_turns_are_filtered_too(tmp_path: Path, contents: tuple[str, ...], reason: str) -> None:
    """A control token in an answer would stop the training of the whole set."""
    data = read_general_data(write(tmp_path, chat(*contents), chat("Why <s>?", "So."), facts=CHAT_FACTS))
    assert data.skipped == {"chats": {reason: 1}}
    assert data.table.num_rows == 1


def test_preference_pairs_are_counted_as_skipped(tmp_path: Path) -> None:
    facts = CHAT_FACTS.replace("messages", "preferences")
    data = read_general_data(write(tmp_path, {"prompt": "Why?", "chosen": "So.", "rejected": "No."}, facts=facts))
    assert data.skipped == {"chats": {"preference pair": 1}}


def test_a_source_with_two_licences_is_refused(tmp_path: Path) -> None:
    """The licence table of a set has one row for each source."""
    write(tmp_path, dolly("Good?"), folder="one")
    with pytest.raises(GeneralDataError, match="two"):
        read_general(write(tmp_path, dolly("Why?"), facts=FACTS.replace("CC BY-SA 3.0", "MIT"), folder="two"))


def test_the_bundled_examples_keep_their_ids() -> None:
    """Ids and fingerprints decide which examples a set gets: a change would train another model from the same data."""
    data = read_general_data(PROJECT_DIR / "data" / "general")
    ids, fingerprints = (data.table.column(name).to_pylist() for name in ("example_id", "fingerprint"))
    assert fingerprint_json(ids) == "bfb8bf1e35d0e41c5ce080b366dec08d4ce38615a9966a19505ea73578ccaaec"
    assert fingerprint_json(fingerprints) == "60ccca6a751906ef50378be41771ff82dc1419b5f3141b6c1dce44b2b97e0362"
    assert data.skipped == {"dolly_hhrlhf": {"too long": 9}, "self_instruct": {"offensive": 6, "too long": 2}}
