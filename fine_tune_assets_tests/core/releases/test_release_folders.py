"""A release folder verifies only if it is unchanged: no changed, extra or missing file, and the same id."""

import json
from pathlib import Path

import pytest

from fine_tune_assets.core.prompts.prompt_contract import PromptContract, SpecialToken
from fine_tune_assets.core.releases.release_folders import (
    MANIFEST,
    MODEL,
    PROMPT,
    ReleaseError,
    read_release,
    verify_release,
    write_manifest,
)

CONTRACT = PromptContract("Be brief.", "t", (SpecialToken("eos_token", "<end>", 2),), (2,), 2)


@pytest.fixture
def release(tmp_path: Path) -> tuple[Path, str]:
    folder = tmp_path / "release"
    (folder / "evidence").mkdir(parents=True)
    (folder / MODEL).write_bytes(b"GGUF weights")
    (folder / PROMPT).write_text(CONTRACT.as_json(), encoding="utf-8")
    (folder / "evidence" / "verdict.json").write_text("{}", encoding="utf-8")
    return folder, write_manifest(folder, {"verdict_id": "v1", "prompt_fingerprint": CONTRACT.fingerprint})


def test_an_unchanged_release_verifies(release: tuple[Path, str]) -> None:
    """The manifest lists its contents."""
    folder, release_id = release
    found = verify_release(folder, release_id)
    assert found.release_id == release_id
    assert found.system_prompt == "Be brief."
    assert found.model == folder / MODEL
    assert found.manifest["verdict_id"] == "v1"
    assert set(found.manifest["files"]) == {MODEL, PROMPT, "evidence/verdict.json"}


@pytest.mark.parametrize("name", [MODEL, PROMPT, "evidence/verdict.json"])
def test_a_changed_file_is_reported_by_name(release: tuple[Path, str], name: str) -> None:
    """In weights, prompt or evidence."""
    folder, release_id = release
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(ReleaseError, match=rf"1 files changed or missing \['{name}'\]"):
        verify_release(folder, release_id)


@pytest.mark.parametrize("name", [MODEL, PROMPT])
def test_a_missing_file_is_reported_by_name(release: tuple[Path, str], name: str) -> None:
    """Such as in an interrupted copy."""
    folder, release_id = release
    (folder / name).unlink()
    with pytest.raises(ReleaseError, match=rf"1 files changed or missing \['{name}'\]"):
        verify_release(folder, release_id)


def test_an_extra_file_is_reported_by_name(release: tuple[Path, str]) -> None:
    """An engine might load it instead of the judged model."""
    folder, release_id = release
    (folder / "evidence" / "adapter.bin").write_bytes(b"x")
    with pytest.raises(ReleaseError, match=r"1 unexpected \['evidence/adapter.bin'\]"):
        verify_release(folder, release_id)


def test_a_changed_manifest_is_refused(release: tuple[Path, str]) -> None:
    """Changing a file and its hash together changes the release id."""
    folder, release_id = release
    (folder / MODEL).write_bytes(b"other weights")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).unlink()
    forged = write_manifest(folder, {name: value for name, value in manifest.items() if name != "files"})
    assert forged != release_id
    with pytest.raises(ReleaseError, match=f"{release_id}: its manifest"):
        verify_release(folder, release_id)


def test_another_verdict_in_the_manifest_is_refused(release: tuple[Path, str]) -> None:
    """The evidence is part of the id."""
    folder, release_id = release
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    (folder / MANIFEST).write_text(text.replace('"v1"', '"v2"'), encoding="utf-8")
    with pytest.raises(ReleaseError, match=f"{release_id}: its manifest"):
        verify_release(folder, release_id)


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_a_missing_or_unreadable_manifest_is_refused(release: tuple[Path, str], content: bytes | None) -> None:
    """Without it the folder can't be verified."""
    folder, _ = release
    (folder / MANIFEST).unlink()
    if content is not None:
        (folder / MANIFEST).write_bytes(content)
    with pytest.raises(ReleaseError, match=f"no readable {MANIFEST}"):
        read_release(folder)


def test_the_layout_of_the_manifest_does_not_matter(release: tuple[Path, str]) -> None:
    """The id depends on the content."""
    folder, release_id = release
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps(dict(reversed(manifest.items()))), encoding="utf-8")
    assert verify_release(folder, release_id).release_id == release_id


@pytest.mark.parametrize("named", [None, "f" * 64])
def test_a_release_of_another_prompt_contract_does_not_verify(release: tuple[Path, str], named: str | None) -> None:
    """Every file matches, but the manifest names another prompt contract or none."""
    folder, _ = release
    (folder / MANIFEST).unlink()
    release_id = write_manifest(folder, {"verdict_id": "v1"} | ({"prompt_fingerprint": named} if named else {}))
    with pytest.raises(ReleaseError, match=f"{release_id}: {PROMPT} differs"):
        verify_release(folder, release_id)
    with pytest.raises(ReleaseError, match=f"{release_id}: {PROMPT} differs"):
        _ = read_release(folder).system_prompt


@pytest.mark.parametrize(
    "content",
    ['{"system_prompt": "Be brief.", "chat_template": "t"}', "{", "[]", '{"system_prompt": 1, "stop_ids": 2}'],
)
def test_an_unreadable_prompt_does_not_verify(release: tuple[Path, str], content: str) -> None:
    """A release in an unknown format is refused."""
    folder, _ = release
    (folder / MANIFEST).unlink()
    (folder / PROMPT).write_text(content, encoding="utf-8")
    release_id = write_manifest(folder, {"prompt_fingerprint": CONTRACT.fingerprint})
    with pytest.raises(ReleaseError, match=r"no readable prompt\.json"):
        verify_release(folder, release_id)
