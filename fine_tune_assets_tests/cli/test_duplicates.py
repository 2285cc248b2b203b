"""`fine-tune duplicates` on files of one's own: each pair is named, nothing else comes out."""

import json
from collections.abc import Sequence
from pathlib import Path

from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main

NOTE = "The patient came with a cough of three weeks and a mild fever, was examined, given rest and fluids, and sent home. "
LONG = (
    NOTE
    + "She was told to come back when the cough does not end, and to measure her temperature in the evening of each day."
)


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["duplicates", *arguments])


def _write(path: Path, texts: Sequence[tuple[str, str]]) -> str:
    path.write_text("".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in texts), encoding="utf-8")
    return str(path)


def test_each_pair_is_named_with_its_kind_and_similarity(tmp_path: Path) -> None:
    """The longer text stays; of two as long, the one with the lower id."""
    file = _write(
        tmp_path / "notes.jsonl",
        [("b", LONG), ("a", LONG.upper()), ("c", LONG + " Thanks."), ("d", "Another note about a knee that hurts.")],
    )
    result = _run(file)
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {(row["dropped"], row["kept"]) for row in rows} == {("a", "c"), ("b", "c")}
    assert all(set(row) == {"dropped", "kept", "kind", "similarity"} and row["kind"] == "near" for row in rows)
    assert all(0.9 < row["similarity"] < 1 for row in rows)


def test_equal_words_are_an_exact_pair_in_any_order_of_the_files(tmp_path: Path) -> None:
    """Which one stays must not depend on what was read first."""
    one, two = _write(tmp_path / "1.jsonl", [("x", LONG)]), _write(tmp_path / "2.jsonl", [("y", LONG.lower())])
    results = [_run(*files) for files in ((one, two), (two, one))]
    assert results[0].stdout == results[1].stdout
    assert json.loads(results[0].stdout) == {"dropped": "y", "kept": "x", "kind": "exact", "similarity": 1.0}


def test_a_file_without_duplicates_gives_nothing(tmp_path: Path) -> None:
    result = _run(_write(tmp_path / "notes.jsonl", [("a", NOTE), ("b", "A knee that hurts.")]))
    assert (result.exit_code, result.stdout) == (0, "")


def test_an_id_that_occurs_twice_ends_the_command(tmp_path: Path) -> None:
    """A pair could not be told, and a dropped document could be the wrong one."""
    result = _run(_write(tmp_path / "notes.jsonl", [("a", NOTE), ("a", LONG)]))
    assert result.exit_code == 1
    assert "1 ids occur twice, such as a." in result.output


def test_a_line_that_is_no_document_is_named_without_its_text(tmp_path: Path) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_text('{"id": "a", "text": "x"}\n{"id": "secretword"}\n', encoding="utf-8")
    result = _run(str(file))
    assert result.exit_code == 1
    assert "Line 2" in result.output
    assert "secretword" not in result.output


def test_the_same_in_other_words_is_a_semantic_pair(tmp_path: Path) -> None:
    """By the model that comes with the package, without a network."""
    one = "The patient denies tobacco or alcohol use. There is no history of surgery."
    other = "Denies the use of alcohol or tobacco; the patient has no surgical history."
    (row,) = map(
        json.loads, _run(_write(tmp_path / "n.jsonl", [("a", one), ("b", other), ("c", NOTE)])).stdout.splitlines()
    )
    assert (row["dropped"], row["kept"], row["kind"]) == ("b", "a", "semantic") or (row["dropped"], row["kept"]) == (
        "a",
        "b",
    )
    assert 0.9 <= row["similarity"] <= 1


def test_a_letterhead_makes_no_pairs(tmp_path: Path) -> None:
    """Each document counts as a patient: what ten share is a template."""
    findings = [
        "cough",
        "fever",
        "a rash",
        "knee pain",
        "headache",
        "dizziness",
        "vomiting",
        "a fall",
        "a burn",
        "asthma",
    ]
    notes = [(f"n{i}", f"{LONG.upper()}\nSeen for {finding} in room {i}.") for i, finding in enumerate(findings)]
    assert _run(_write(tmp_path / "n.jsonl", notes)).stdout == ""
    assert len(_run(_write(tmp_path / "m.jsonl", notes[:9])).stdout.splitlines()) == 8
