"""A release folder verifies only as it was written: changed, extra, missing, or under another name, it does not."""

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
    """And says what it is made of."""
    folder, release_id = release
    found = verify_release(folder, release_id)
    assert found.release_id == release_id
    assert found.system_prompt == "Be brief."
    assert found.model == folder / MODEL
    assert found.manifest["verdict_id"] == "v1"
    assert set(found.manifest["files"]) == {MODEL, PROMPT, "evidence/verdict.json"}


@pytest.mark.parametrize("name", [MODEL, PROMPT, "evidence/verdict.json"])
def test_a_changed_file_is_found_by_name(release: tuple[Path, str], name: str) -> None:
    """One byte in the weights, the prompt or the evidence: never served."""
    folder, release_id = release
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(ReleaseError, match=rf"1 files changed or missing \['{name}'\]"):
        verify_release(folder, release_id)


@pytest.mark.parametrize("name", [MODEL, PROMPT])
def test_a_missing_file_is_found_by_name(release: tuple[Path, str], name: str) -> None:
    """A copy that was cut short."""
    folder, release_id = release
    (folder / name).unlink()
    with pytest.raises(ReleaseError, match=rf"1 files changed or missing \['{name}'\]"):
        verify_release(folder, release_id)


def test_an_extra_file_is_found_by_name(release: tuple[Path, str]) -> None:
    """Something that an engine might read in place of what was judged."""
    folder, release_id = release
    (folder / "evidence" / "adapter.bin").write_bytes(b"x")
    with pytest.raises(ReleaseError, match=r"1 unexpected \['evidence/adapter.bin'\]"):
        verify_release(folder, release_id)


def test_a_changed_manifest_is_found(release: tuple[Path, str]) -> None:
    """Changing a file and its hash in the manifest together changes the release's id."""
    folder, release_id = release
    (folder / MODEL).write_bytes(b"other weights")
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).unlink()
    forged = write_manifest(folder, {name: value for name, value in manifest.items() if name != "files"})
    assert forged != release_id
    with pytest.raises(ReleaseError, match=f"Release {release_id}: its manifest was changed"):
        verify_release(folder, release_id)


def test_another_verdict_in_the_manifest_is_found(release: tuple[Path, str]) -> None:
    """The evidence is part of the id."""
    folder, release_id = release
    text = (folder / MANIFEST).read_text(encoding="utf-8")
    (folder / MANIFEST).write_text(text.replace('"v1"', '"v2"'), encoding="utf-8")
    with pytest.raises(ReleaseError, match="its manifest was changed"):
        verify_release(folder, release_id)


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_a_manifest_that_is_absent_or_unreadable_is_an_error(release: tuple[Path, str], content: bytes | None) -> None:
    """Without it nothing about the folder is known."""
    folder, _ = release
    (folder / MANIFEST).unlink()
    if content is not None:
        (folder / MANIFEST).write_bytes(content)
    with pytest.raises(ReleaseError, match=f"no readable {MANIFEST}"):
        read_release(folder)


def test_how_the_manifest_is_laid_out_does_not_matter(release: tuple[Path, str]) -> None:
    """The id is of its content."""
    folder, release_id = release
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    (folder / MANIFEST).write_text(json.dumps(dict(reversed(manifest.items()))), encoding="utf-8")
    assert verify_release(folder, release_id).release_id == release_id


@pytest.mark.parametrize("named", [None, "f" * 64])
def test_a_release_of_another_prompt_contract_does_not_verify(release: tuple[Path, str], named: str | None) -> None:
    """Every file is as the manifest says, and the manifest says that its model was trained with another prompt, or with none."""
    folder, _ = release
    (folder / MANIFEST).unlink()
    release_id = write_manifest(folder, {"verdict_id": "v1"} | ({"prompt_fingerprint": named} if named else {}))
    with pytest.raises(ReleaseError, match="not the prompt contract that its model was trained with"):
        verify_release(folder, release_id)
    with pytest.raises(ReleaseError, match="not the prompt contract"):
        _ = read_release(folder).system_prompt


@pytest.mark.parametrize(
    "content",
    ['{"system_prompt": "Be brief.", "chat_template": "t"}', "{", "[]", '{"system_prompt": 1, "stop_ids": 2}'],
)
def test_a_prompt_that_can_not_be_read_does_not_verify(release: tuple[Path, str], content: str) -> None:
    """A release of unknown form is no release."""
    folder, _ = release
    (folder / MANIFEST).unlink()
    (folder / PROMPT).write_text(content, encoding="utf-8")
    release_id = write_manifest(folder, {"prompt_fingerprint": CONTRACT.fingerprint})
    with pytest.raises(ReleaseError, match=r"no readable prompt\.json"):
        verify_release(folder, release_id)
