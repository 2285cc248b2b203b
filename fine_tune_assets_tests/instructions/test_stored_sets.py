"""Stored sets: stable names, readable exports, and refusal of changed sets."""

import json
from dataclasses import replace
from pathlib import Path

import datasets
import duckdb
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_json, fingerprint_table
from fine_tune_assets.instructions.gates import identifier_findings, is_certified, require_evidence
from fine_tune_assets.instructions.provenance import ReportFacts
from fine_tune_assets.instructions.stored_sets import (
    InstructionSetError,
    LeakageError,
    read_instruction_set,
    write_instruction_set,
)
from fine_tune_assets.tables.instruction_rows import InstructionRow, ProvenanceRow
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.training.training_due import count_new_examples
from fine_tune_assets_tests.instructions.examples import PROMPT, SEARCH, built, example

FACTS = {"recipe": "r", "seed": 7}


def test_a_set_is_read_by_its_full_or_short_fingerprint(tmp_path: Path) -> None:
    """Folders use the short form, records the full one."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    assert stored.folder == tmp_path / stored.fingerprint[:16]
    for fingerprint in (stored.fingerprint, stored.fingerprint[:16]):
        read = read_instruction_set(tmp_path, fingerprint)
        assert read.table.equals(built().table)
        assert read.manifest["facts"] == FACTS


def test_writing_the_same_set_again_changes_nothing(tmp_path: Path) -> None:
    """Unchanged content must not start a training."""
    first = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    before = (first.folder / "manifest.json").stat().st_mtime_ns
    assert write_instruction_set(tmp_path, built(), FACTS, SEARCH) == first
    assert (first.folder / "manifest.json").stat().st_mtime_ns == before
    assert len(list(tmp_path.iterdir())) == 1


def test_other_rows_or_facts_make_another_fingerprint(tmp_path: Path) -> None:
    """A verdict applies to exactly one set."""
    sets = [
        write_instruction_set(tmp_path, built(), FACTS, SEARCH),
        write_instruction_set(tmp_path, built(fraction=0.0), FACTS, SEARCH),
        write_instruction_set(tmp_path, built(), {**FACTS, "seed": 8}, SEARCH),
    ]
    assert len({stored.fingerprint for stored in sets}) == 3


def test_the_manifest_counts_each_split(tmp_path: Path) -> None:
    """The UI shows these counts."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    counted = duckdb.sql(
        f"SELECT split, count(*) FROM '{stored.folder / 'instruction_set.parquet'}' GROUP BY split"
    ).fetchall()
    general = sum(stored.table.column("is_general").to_pylist())
    assert stored.manifest["counts"] == {**dict(counted), "general": general}
    assert "more than one split: 0" in stored.manifest["leakage_certificate"]


def test_the_exports_load_with_datasets(tmp_path: Path) -> None:
    """Other trainers get the same rows."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    counts = stored.manifest["counts"]
    names = {split: str(stored.folder / f"{split}.chatml.jsonl") for split in ("train", "validation", "test")}
    chatml = datasets.load_dataset("json", data_files=names, cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in chatml.items()} == {split: counts[split] for split in names}
    train = [row["messages"] for row in stored.table.to_pylist() if row["split"] == "train"]
    assert list(chatml["train"]["messages"]) == train

    files = str(stored.folder / "train.alpaca.json")
    alpaca = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert set(alpaca.column_names) == {"instruction", "input", "output", "system"}
    assert set(alpaca["system"]) == {PROMPT}
    assert [row["output"] for row in alpaca] == [messages[-1]["content"] for messages in train]
    assert "Finding 3." in alpaca["input"] or "Finding 4." in alpaca["input"]


def test_the_folder_loads_as_a_data_set(tmp_path: Path) -> None:
    """The card lists the files of each split in both formats, so that the folder is self-contained."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    messages, sharegpt = (
        datasets.load_dataset(str(stored.folder), name, cache_dir=str(tmp_path / "cache"))
        for name in ("messages", "sharegpt")
    )
    assert {split: len(rows) for split, rows in messages.items()} == {s: stored.manifest["counts"][s] for s in messages}
    assert set(messages) == {"train", "validation", "test"}
    for split in messages:
        assert [_as_messages(turns) for turns in sharegpt[split]["conversations"]] == list(messages[split]["messages"])
    assert [turn["from"] for turn in sharegpt["train"][0]["conversations"]] == ["system", "human", "gpt"]


def _as_messages(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    roles = {"system": "system", "human": "user", "gpt": "assistant"}
    return [{"role": roles[turn["from"]], "content": turn["value"]} for turn in turns]


def test_the_card_states_the_facts_and_confidentiality(tmp_path: Path) -> None:
    """The card is often the only documentation that a recipient has."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    card = (stored.folder / "README.md").read_text(encoding="utf-8")
    for part in (
        stored.fingerprint,
        "confidential",
        stored.manifest["leakage_certificate"],
        '| recipe | "r" |',
        "| seed | 7 |",
    ):
        assert part in card
    assert f"| train | {stored.manifest['counts']['train']} |" in card


def test_a_changed_table_is_refused(tmp_path: Path) -> None:
    """Only approved content may be trained on."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    pq.write_table(stored.table.slice(1), stored.folder / "instruction_set.parquet")
    with pytest.raises(InstructionSetError, match=r"instruction_set\.parquet"):
        read_instruction_set(tmp_path, stored.fingerprint)


def test_a_changed_table_is_refused_even_with_a_matching_manifest(tmp_path: Path) -> None:
    """An attacker can change file and hash together, but the folder name is the fingerprint."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    other = write_instruction_set(tmp_path / "other", built(fraction=0.0), FACTS, SEARCH)
    for path in other.folder.iterdir():
        (stored.folder / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InstructionSetError, match=stored.fingerprint[:16]):
        read_instruction_set(tmp_path, stored.fingerprint)


@pytest.mark.parametrize(
    "name", ["train.alpaca.json", "test.chatml.jsonl", "train.sharegpt.jsonl", "README.md", "manifest.json"]
)
def test_a_changed_export_or_manifest_is_refused(tmp_path: Path, name: str) -> None:
    """Trainings may use an export instead of the table."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    (stored.folder / name).write_text("{")
    with pytest.raises(InstructionSetError, match=stored.fingerprint[:16]):
        read_instruction_set(tmp_path, stored.fingerprint)


def test_changed_facts_are_refused(tmp_path: Path) -> None:
    """Facts name the recipe of a set and are part of its fingerprint."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    manifest = {**stored.manifest, "facts": {"recipe": "another"}}
    (stored.folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InstructionSetError, match=stored.fingerprint[:16]):
        read_instruction_set(tmp_path, stored.fingerprint)


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    """The error contains the fingerprint."""
    with pytest.raises(InstructionSetError, match="0123"):
        read_instruction_set(tmp_path, "0123")


def test_a_set_with_a_leak_is_not_stored(tmp_path: Path) -> None:
    """The certificate is a gate, not only documentation."""
    clean = built()
    rows = clean.table.to_pylist()
    test = next(row for row in rows if row["split"] == "test")
    leaking = replace(clean, table=table_from_rows([*rows, {**test, "split": "train"}], InstructionRow.SCHEMA))
    with pytest.raises(LeakageError):
        write_instruction_set(tmp_path, leaking, FACTS, SEARCH)
    assert issubclass(LeakageError, GateClosedError)
    assert list(tmp_path.iterdir()) == []


def test_without_a_search_for_leaks_nothing_is_stored(tmp_path: Path) -> None:
    """Without a search the certificate is invalid."""
    with pytest.raises(LeakageError):
        write_instruction_set(tmp_path, built(), FACTS, None)
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_contains_the_evidence(tmp_path: Path) -> None:
    """An audit of a release uses its reports, decisions, scrubber, licences and certificate."""
    decided = {**example("patient3", "Finding x."), "approval_kind": "expert", "decision_ids": ["d1"]}
    facts = {decided["report_id"]: ReportFacts("f1", "s1", None)}
    stored = write_instruction_set(tmp_path, built([decided], reports=facts), FACTS, SEARCH, {"tokenizer": "t"})
    evidence = stored.manifest["evidence"]
    assert (evidence["decisions"], evidence["scrubber_versions"], evidence["tokenizer"]) == (1, ["s1"], "t")
    assert evidence["reports"] == len(set(stored.provenance.column("report_id").to_pylist()) - {None})
    assert evidence["general_licences"] == {"large": "MIT", "small": "MIT"}
    assert evidence["leakage"]["is_valid"]
    assert evidence["leakage"]["search_description"] == SEARCH.description


def test_another_decision_on_the_same_content_is_another_set_with_the_same_table(tmp_path: Path) -> None:
    """The review is part of the fingerprint, but an equal table starts no training."""
    rows = [{**example("patient3", "Finding x."), "approval_kind": "expert", "decision_ids": [d]} for d in ("d1", "d2")]
    first, second = (write_instruction_set(tmp_path, built([row]), FACTS, SEARCH) for row in rows)
    assert first.fingerprint != second.fingerprint
    assert first.table.equals(second.table)
    assert count_new_examples(second.table, first.table) == 0


def test_a_changed_provenance_is_refused_even_with_a_matching_hash(tmp_path: Path) -> None:
    """Approvals are evidence and must not be rewritten."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    rows = stored.provenance.to_pylist()
    rows[0]["approved_by"] = "Another expert"
    path = stored.folder / "provenance.parquet"
    pq.write_table(table_from_rows(rows, ProvenanceRow.SCHEMA), path)
    files = {**stored.manifest["files"], path.name: fingerprint_file(path)}
    (stored.folder / "manifest.json").write_text(json.dumps({**stored.manifest, "files": files}))
    with pytest.raises(InstructionSetError, match=stored.fingerprint[:16]):
        read_instruction_set(tmp_path, stored.fingerprint)


def test_a_set_without_its_evidence_is_refused(tmp_path: Path) -> None:
    """Also with a matching name and matching hashes."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    bare = fingerprint_json({"table": fingerprint_table(stored.table), "facts": FACTS})
    folder = stored.folder.rename(tmp_path / bare[:16])
    (folder / "provenance.parquet").unlink()
    manifest = {name: value for name, value in stored.manifest.items() if name != "evidence"}
    manifest["files"].pop("provenance.parquet")
    (folder / "manifest.json").write_text(json.dumps({**manifest, "fingerprint": bare}))
    with pytest.raises(InstructionSetError, match=bare[:16]):
        read_instruction_set(tmp_path, bare)


def test_a_set_without_evidence_closes_the_gate(tmp_path: Path) -> None:
    """Also if the trainer is started manually, without the checks."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    assert is_certified(stored)
    assert identifier_findings(stored) is None
    with pytest.raises(GateClosedError, match=stored.fingerprint[:16]):
        require_evidence(stored)
    without = replace(stored, manifest={**stored.manifest, "evidence": None})
    assert not is_certified(without)
    with pytest.raises(GateClosedError, match=stored.fingerprint[:16]):
        require_evidence(without)


def test_an_identifier_closes_the_gate_and_a_clean_search_opens_it(tmp_path: Path) -> None:
    """The model would learn a name that a reviewer typed."""
    found = {"findings": {"e1": {"NAME": 1}}, "texts": 40, "scrubber_version": "s"}
    closed = write_instruction_set(tmp_path, built(), FACTS, SEARCH, {"identifiers": found})
    with pytest.raises(GateClosedError, match=r"^1 .* e1\."):
        require_evidence(closed)
    require_evidence(
        write_instruction_set(tmp_path, built(), FACTS, SEARCH, {"identifiers": {**found, "findings": {}}})
    )


@pytest.mark.parametrize("kinds", [["exact", "near"], []])
def test_a_set_without_a_search_for_paraphrases_closes_the_gate(tmp_path: Path, kinds: list[str]) -> None:
    """A paraphrased leak would raise the grade of a model that only memorized."""
    no_findings = {"identifiers": {"findings": {}, "texts": 40, "scrubber_version": "s"}}
    certified = write_instruction_set(tmp_path, built(), FACTS, SEARCH, no_findings)
    require_evidence(certified)
    leakage = {name: value for name, value in certified.manifest["evidence"]["leakage"].items() if name != "kinds"}
    leakage |= {"kinds": kinds} if kinds else {}
    lexical_only = replace(
        certified, manifest={**certified.manifest, "evidence": {**certified.manifest["evidence"], "leakage": leakage}}
    )
    with pytest.raises(GateClosedError, match=certified.fingerprint[:16]):
        require_evidence(lexical_only)


def test_the_card_lists_every_source_with_its_licence_and_rows(tmp_path: Path) -> None:
    """The licences of all parts apply to the mix."""
    stored = write_instruction_set(tmp_path, built(), FACTS, SEARCH)
    card = (stored.folder / "README.md").read_text(encoding="utf-8")
    sources = stored.table.column("source").to_pylist()
    for source, licence in (("large", "MIT"), ("small", "MIT"), ("clinic", "the organization's own reports")):
        assert f"| {source} | {licence}" in card
        assert f" | {sources.count(source)} |" in card
