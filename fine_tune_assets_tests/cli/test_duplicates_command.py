"""`fine-tune duplicates` on a user's files: the output names each pair and contains nothing else."""

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
    """The longer text is kept; of two equally long texts, the one with the lower id."""
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
    """The order of reading must not decide which one is kept."""
    one, two = _write(tmp_path / "1.jsonl", [("x", LONG)]), _write(tmp_path / "2.jsonl", [("y", LONG.lower())])
    results = [_run(*files) for files in ((one, two), (two, one))]
    assert results[0].stdout == results[1].stdout
    assert json.loads(results[0].stdout) == {"dropped": "y", "kept": "x", "kind": "exact", "similarity": 1.0}


def test_a_file_without_duplicates_yields_no_pairs(tmp_path: Path) -> None:
    result = _run(_write(tmp_path / "notes.jsonl", [("a", NOTE), ("b", "A knee that hurts.")]))
    assert (result.exit_code, result.stdout) == (0, "")


def test_a_repeated_id_is_refused(tmp_path: Path) -> None:
    """Pairs would be ambiguous, and the wrong document could be dropped."""
    result = _run(_write(tmp_path / "notes.jsonl", [("a", NOTE), ("a", LONG)]))
    assert result.exit_code == 1
    assert "These ids occur more than once: a." in result.output


def test_an_invalid_line_is_reported_without_its_text(tmp_path: Path) -> None:
    file = tmp_path / "notes.jsonl"
    file.write_text('{"id": "a", "text": "x"}\n{"id": "secretword"}\n', encoding="utf-8")
    result = _run(str(file))
    assert result.exit_code == 1
    assert "Line 2" in result.output
    assert "secretword" not in result.output


def test_a_paraphrase_is_a_semantic_pair(tmp_path: Path) -> None:
    """Found with the bundled model, without a network."""
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


def test_a_shared_letterhead_makes_no_pairs(tmp_path: Path) -> None:
    """Each document counts as a subject: a line that ten share is boilerplate."""
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
    notes = [(f"n{i}", f"{LONG.upper()}\nSeen for {finding} in the ward.") for i, finding in enumerate(findings)]
    assert _run(_write(tmp_path / "n.jsonl", notes)).stdout == ""
    assert len(_run(_write(tmp_path / "m.jsonl", notes[:9])).stdout.splitlines()) == 8
