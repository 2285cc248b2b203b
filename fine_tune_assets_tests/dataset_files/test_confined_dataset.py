"""A data set is read by a process that can neither stop the import nor reach anything else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fine_tune_assets.core.processes.confined_process import ConfinedProcessError, Failure, probe_confinement
from fine_tune_assets.dataset_files.confined_dataset import DATASET_LIMITS, open_confined_dataset
from fine_tune_assets.dataset_files.dataset_reader import open_dataset
from fine_tune_assets.dataset_files.dataset_rows import DatasetError, Refusal

ROW = {"instruction": "Name it.", "input": "A cough.", "output": "Cough"}
TURNS = [{"role": role, "content": text} for role, text in (("user", "a"), ("assistant", "b"), ("user", "c"))]
PAIR = {"prompt": TURNS, "chosen": "d", "rejected": "e", "who": "y"}


def test_the_rows_are_the_same(tmp_path: Path) -> None:
    """Conversations, preference pairs, refusals and subjects."""
    lines = [json.dumps({**ROW, "who": 4711}), "{", json.dumps({**ROW, "output": "\ud800", "who": "x"})]
    (tmp_path / "a.jsonl").write_text("\n".join(lines * 400))
    (tmp_path / "b.json").write_text(json.dumps([PAIR] * 3))
    (tmp_path / "notes.md").write_text("About.")
    options = (None, None, "who")
    here, confined = open_dataset(tmp_path, *options), open_confined_dataset(tmp_path, *options)
    assert confined.files == here.files
    assert confined.ignored == here.ignored
    rows = list(confined.rows())
    assert rows == list(here.rows())
    assert {type(row.content).__name__ for row in rows} == {"Conversation", "PreferencePair", "Refusal"}
    assert Refusal.SURROGATE in [row.content for row in rows]


def test_links_are_followed_only_within_a_cache_of_the_hub(tmp_path: Path) -> None:
    """A stranger's folder could contain a link to a key or to another subject's report."""
    folder = tmp_path / "snapshots" / "1a2b"
    for made in (tmp_path / "blobs", folder):
        made.mkdir(parents=True)
    for place in ("blobs", "."):
        (tmp_path / place / "rows").write_text(json.dumps(ROW))
    (folder / "a.jsonl").symlink_to("../../blobs/rows")
    assert len(list(open_confined_dataset(folder).rows())) == 1
    (folder / "b.jsonl").symlink_to("../../rows")
    if probe_confinement(str(tmp_path)).reads_secret:
        pytest.skip("this system hides no files")
    with pytest.raises(DatasetError):
        open_confined_dataset(folder)


@pytest.mark.parametrize(
    ("limits", "failure"),
    [
        ({"memory_bytes": 400_000_000}, Failure.OUT_OF_MEMORY),
        ({"cpu_seconds": 2, "memory_bytes": 10**10}, Failure.CPU_TIME),
    ],
)
def test_a_file_above_a_limit_is_refused(tmp_path: Path, limits: dict[str, int], failure: Failure) -> None:
    """The command must not end with a raw error, nor take the machine's memory."""
    file = tmp_path / "rows.jsonl"
    file.write_text((json.dumps(ROW) + "\n") * 100 + ('{"x": [' + "{}," * 5_000_000 + "{}]}\n") * 3)
    with pytest.raises(DatasetError) as caught:
        list(open_confined_dataset(file, limits=replace(DATASET_LIMITS, **limits)).rows())
    assert isinstance(caught.value.__cause__, ConfinedProcessError)
    assert caught.value.__cause__.failure is failure
    assert "rows.jsonl" in str(caught.value)
