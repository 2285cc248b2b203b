"""The drop folder of data sets: what is imported, what goes to quarantine, and that nothing is lost."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from fine_tune_assets.core.paths import Layout
from fine_tune_assets.defs.dataset_drop_sensor import MAX_ATTEMPTS, dataset_drop_sensor, import_dropped_datasets
from fine_tune_assets.defs.dropped_datasets import REASON_FILE, import_incoming, list_incoming
from fine_tune_assets.defs.platform.resources import Installation

ROW = {"instruction": "Why?", "output": "So."}
GENERAL = {"role": "general", "licence": "MIT"}
DRAFTS = {"role": "drafts", "source": "Ward questions", "subject": "case"}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "data")
    made.incoming_datasets.mkdir(parents=True)
    return made


def drop(layout: Layout, name: str, facts: Any = GENERAL, rows: Any = (ROW,), facts_name: str | None = None) -> Path:
    path = layout.incoming_datasets / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if facts is not None:
        text = facts if isinstance(facts, str) else yaml.safe_dump(facts)
        (layout.incoming_datasets / (facts_name or f"{name}.yaml")).write_text(text)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_dropped_file_is_imported_in_its_role_and_moved(layout: Layout) -> None:
    """By the code of `fine-tune datasets import`. The original is kept, because it may have more columns."""
    drop(layout, "chats.jsonl")
    drop(layout, "faq.jsonl", DRAFTS, [{**ROW, "case": "A-17"}], facts_name="faq.yaml")
    assert [(one.name, one.rows) for one in import_incoming(layout)] == [("chats.jsonl", 1), ("faq.jsonl", 1)]
    assert yaml.safe_load((layout.general_data / "chats" / "source.yaml").read_text())["source"] == "chats"
    assert yaml.safe_load((layout.raw_reports / "faq" / "batch.yaml").read_text())["source"] == "Ward questions"
    assert names(layout.datasets) == [
        "imported/chats.jsonl/chats.jsonl", "imported/chats.jsonl/chats.jsonl.yaml",
        "imported/faq.jsonl/faq.jsonl", "imported/faq.jsonl/faq.yaml",
    ]  # fmt: skip
    assert import_incoming(layout) == []


def test_a_dropped_folder_is_one_data_set(layout: Layout) -> None:
    folder = layout.incoming_datasets / "Chats of 2026.partial"
    folder.mkdir()
    (folder / "a.jsonl").write_text(json.dumps(ROW))
    (folder / "b.jsonl").write_text(json.dumps(ROW))
    (layout.incoming_datasets / "Chats of 2026.yaml").write_text(yaml.safe_dump(GENERAL))
    assert list_incoming(layout).ready == ()
    folder.rename(layout.incoming_datasets / "Chats of 2026")
    (done,) = import_incoming(layout)
    assert done.rows == 2
    assert (layout.general_data / "chats-of-2026" / "conversations.jsonl").is_file()


def test_a_file_without_its_yaml_waits(layout: Layout) -> None:
    """Its role and licence are not known yet."""
    path = drop(layout, "chats.jsonl", facts=None)
    for name in (".hidden.jsonl", "more.jsonl.partial", "more.jsonl.tmp"):
        drop(layout, name)
    (layout.incoming_datasets / "linked.jsonl").symlink_to(path)
    (layout.incoming_datasets / "linked.jsonl.yaml").write_text(yaml.safe_dump(GENERAL))
    found = list_incoming(layout)
    assert (found.ready, found.waiting) == ((), 1)
    assert import_incoming(layout) == []
    assert path.is_file()


@pytest.mark.parametrize(
    ("facts", "rows", "reason"),
    [
        ({"role": "test", "licence": "MIT"}, (ROW,), "role"),
        ({"licence": "MIT"}, (ROW,), "role"),
        ({**GENERAL, "colour": "red"}, (ROW,), "colour"),
        ({"role": "general"}, (ROW,), "licence"),
        ({**GENERAL, "subject": "case"}, (ROW,), "subject"),
        ({**GENERAL, "name": "bundled"}, (ROW,), "bundled"),
        ({**GENERAL, "format": "csv"}, (ROW,), "csv"),
        ("role: [", (ROW,), "YAML"),
        ("- role", (ROW,), "the file"),
        (GENERAL, ({"Marker-word": 1},), "fits no format"),
        (DRAFTS, (ROW,), "no subject"),
    ],
)
def test_a_faulty_drop_goes_to_quarantine_with_its_reason(layout: Layout, facts: Any, rows: Any, reason: str) -> None:
    """It stops no other drop, and all its files are kept."""
    drop(layout, "bad.jsonl", facts, rows)
    drop(layout, "good.jsonl")
    assert [one.rows for one in import_incoming(layout)] == [None, 1]
    folder = layout.datasets / "quarantine" / "bad.jsonl"
    assert names(folder) == ["bad.jsonl", "bad.jsonl.yaml", REASON_FILE]
    assert reason in (folder / REASON_FILE).read_text()
    assert names(layout.incoming_datasets) == []
    assert not (layout.general_data / "bad").exists()
    assert not (layout.raw_reports / "bad").exists()


def test_a_repeated_name_replaces_nothing(layout: Layout) -> None:
    for expected in (1, None, None):
        drop(layout, "chats.jsonl")
        assert [one.rows for one in import_incoming(layout)] == [expected]
    assert names(layout.datasets / "quarantine") == sorted(
        f"{folder}/{name}"
        for folder in ("chats.jsonl", "chats.jsonl-2")
        for name in ("chats.jsonl", "chats.jsonl.yaml", REASON_FILE)
    )


def look(instance: dg.DagsterInstance) -> Any:
    with dg.build_sensor_context(instance=instance) as context:
        return dataset_drop_sensor(context)


def test_the_sensor_starts_the_import_once_per_drop(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """And gives up after three runs for the same files."""
    layout = Layout(installation_dir)
    layout.incoming_datasets.mkdir(parents=True)
    assert isinstance(look(instance), dg.SkipReason)
    drop(layout, "waiting.jsonl", facts=None)
    assert "1 " in str(look(instance).skip_message)
    drop(layout, "chats.jsonl")
    first = look(instance)
    assert look(instance).run_key == first.run_key
    keys = set()
    for _ in range(MAX_ATTEMPTS):
        request = look(instance)
        keys.add(request.run_key)
        instance.add_run(dg.DagsterRun(import_dropped_datasets.name, tags=request.tags))
    assert len(keys) == MAX_ATTEMPTS
    assert isinstance(look(instance), dg.SkipReason)
    drop(layout, "more.jsonl")
    assert look(instance).run_key not in keys


def test_the_job_fails_if_a_data_set_is_faulty(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """A failed run notifies people. The other data sets are imported."""
    layout = Layout(installation_dir)
    layout.incoming_datasets.mkdir(parents=True)
    drop(layout, "chats.jsonl")
    resources = {"installation": Installation()}
    assert import_dropped_datasets.execute_in_process(resources=resources, instance=instance).success
    drop(layout, "bad.jsonl", {"role": "general"})
    drop(layout, "more.jsonl")
    done = import_dropped_datasets.execute_in_process(resources=resources, instance=instance, raise_on_error=False)
    assert not done.success
    assert (layout.general_data / "more").is_dir()
    assert (layout.datasets / "quarantine" / "bad.jsonl" / REASON_FILE).is_file()
