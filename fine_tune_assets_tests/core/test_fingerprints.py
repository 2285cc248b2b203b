"""Fingerprints are equal for equal content and differ otherwise. Every gate depends on this."""

import hashlib
import os
from pathlib import Path

import pyarrow as pa
import pytest

from fine_tune_assets.core.errors import ChangedFolderError
from fine_tune_assets.core.fingerprints import (
    SHORT_LENGTH,
    combine,
    fingerprint_bytes,
    fingerprint_file,
    fingerprint_files,
    fingerprint_folder,
    fingerprint_json,
    fingerprint_listing,
    fingerprint_table,
    fingerprint_text,
    keyed_hash,
    require_unchanged_folder,
    short,
)


def test_bytes_and_files_have_their_plain_sha256(tmp_path: Path) -> None:
    """Anyone can check a release with `sha256sum`."""
    (tmp_path / "a").write_bytes(b"content")
    expected = hashlib.sha256(b"content").hexdigest()
    assert fingerprint_bytes(b"content") == fingerprint_file(tmp_path / "a") == fingerprint_text("content") == expected


def test_the_order_of_keys_does_not_matter_and_the_order_of_lists_does() -> None:
    """YAML and JSON writers order keys arbitrarily."""
    assert fingerprint_json({"a": 1, "b": [1, 2]}) == fingerprint_json({"b": [1, 2], "a": 1})
    assert fingerprint_json([1, 2]) != fingerprint_json([2, 1])


@pytest.mark.parametrize(("one", "other"), [("1", 1), (None, "null"), (["a", "b"], ["ab"]), ({}, []), (1, 1.5)])
def test_similar_values_differ(one: object, other: object) -> None:
    """Joining texts without separators would cause collisions."""
    assert fingerprint_json(one) != fingerprint_json(other)
    assert combine(["a", "b"]) != combine(["ab"]) != combine(["b", "a"])


def test_a_folder_changes_with_names_contents_and_files(tmp_path: Path) -> None:
    """Renamed, changed and added files count; the folder's own path does not."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "sub").mkdir(parents=True)
        (folder / "a.txt").write_text("a", encoding="utf-8")
        (folder / "sub" / "b.txt").write_text("b", encoding="utf-8")
    same = fingerprint_folder(one)
    assert list(fingerprint_files(one)) == ["a.txt", "sub/b.txt"]
    assert fingerprint_folder(two) == same
    (two / "a.txt").rename(two / "c.txt")
    assert fingerprint_folder(two) != same
    (two / "c.txt").rename(two / "a.txt")
    (two / "a.txt").write_text("A", encoding="utf-8")
    assert fingerprint_folder(two) != same
    (two / "a.txt").write_text("a", encoding="utf-8")
    (two / ".hidden").write_text("", encoding="utf-8")
    assert fingerprint_folder(two) != same


def test_the_chunking_of_a_table_does_not_matter() -> None:
    """Reading a Parquet file changes the chunks and must not cause downstream runs."""
    table = pa.table({"id": ["a", "b", "c"], "n": [1, None, 3]})
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert chunked.column("id").num_chunks == 2
    assert fingerprint_table(chunked) == fingerprint_table(table)


def test_a_table_changes_with_a_value_a_name_a_type_and_the_order_of_rows() -> None:
    """Each is a change of content."""
    table = pa.table({"id": ["a", "b"], "n": [1, 2]})
    others = [
        pa.table({"id": ["a", "b"], "n": [1, 3]}),
        pa.table({"id": ["a", "b"], "m": [1, 2]}),
        pa.table({"id": ["a", "b"], "n": pa.array([1, 2], pa.int32())}),
        table.take([1, 0]),
        table.slice(0, 1),
        pa.table({"id": ["a", "b"], "n": [1, None]}),
    ]
    assert fingerprint_table(table) not in {fingerprint_table(other) for other in others}


def test_a_keyed_hash_needs_its_key() -> None:
    """Subject ids are short: without a key, they could be found by brute force."""
    assert keyed_hash(b"k" * 32, "4711") == keyed_hash(b"k" * 32, "4711")
    assert keyed_hash(b"k" * 32, "4711") != keyed_hash(b"l" * 32, "4711")
    assert keyed_hash(b"k" * 32, "4711") != fingerprint_text("4711")


def test_a_short_fingerprint_is_the_start_of_the_long_one() -> None:
    """Folder names can be compared with fingerprints in tables."""
    long = fingerprint_text("x")
    assert long.startswith(short(long))
    assert len(short(long)) == SHORT_LENGTH


def test_a_listing_changes_when_a_file_may_have_changed(tmp_path: Path) -> None:
    """Weights of 100 GB can't be hashed every five seconds, but a rewritten file is detected."""
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"old weights")
    os.utime(weights, ns=(1, 1))
    before = fingerprint_listing(tmp_path), fingerprint_listing(weights)
    assert (fingerprint_listing(tmp_path), fingerprint_listing(weights)) == before
    weights.write_bytes(b"new weights")
    assert fingerprint_listing(tmp_path) != before[0]
    assert fingerprint_listing(weights) != before[1]
    with pytest.raises(OSError, match="missing"):
        fingerprint_listing(tmp_path / "missing")


def test_a_changed_folder_is_refused(tmp_path: Path) -> None:
    """The loaded weights must be the measured ones."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"old")
    fingerprint = fingerprint_folder(tmp_path / "weights")
    require_unchanged_folder(tmp_path / "weights", fingerprint, "adapter")
    (tmp_path / "weights" / "model.safetensors").write_bytes(b"new")
    with pytest.raises(ChangedFolderError, match=f"adapter weights .*{short(fingerprint)}"):
        require_unchanged_folder(tmp_path / "weights", fingerprint, "adapter")
    with pytest.raises(ChangedFolderError):
        require_unchanged_folder(tmp_path / "nowhere", fingerprint, "adapter")
