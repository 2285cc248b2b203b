"""`fine-tune releases import`: a valid archive is imported; every defect is refused by name and leaves nothing behind."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.cli.releases.release_imports import ImportRequest, import_release
from fine_tune_assets.core.errors import FineTuneError, GateClosedError
from fine_tune_assets.core.fingerprints import fingerprint_file, fingerprint_files
from fine_tune_assets.core.releases.release_archives import ArchiveError, unpack_confined, unpack_release
from fine_tune_assets.core.releases.release_folders import ADAPTER, MEMBERS, ReleaseError, ReleaseFolder
from fine_tune_assets.core.releases.release_keys import ensure_signing_key, imported_key_file, release_key_fingerprint
from fine_tune_assets.core.releases.release_signing import SignedReleases
from fine_tune_assets.core.settings import PREFIX
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.serving.imported_releases import find_import, find_import_key
from fine_tune_assets.ledger.serving.release_records import find_release, record_release
from fine_tune_assets.ledger.serving.release_removal import mark_removed
from fine_tune_assets.ledger.serving.verdicts import record_verdict
from fine_tune_assets.serving.release_probes import ProbeError
from fine_tune_assets_tests.cli.desk_users import OS_USER
from fine_tune_assets_tests.cli.moved_releases import (
    Installation,
    Member,
    entry,
    installation,
    members,
    packed,
    repacked,
    write_members,
)
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict
from fine_tune_assets_tests.merging.whole_release import EVIDENCE, whole_release

HELD = sorted(MEMBERS - {ADAPTER})
"""Members of a release with a full model. A release with an adapter has the adapter instead of the model."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, ReleaseFolder]:
    """An archive, the public key of its installation, and the release."""
    root = tmp_path_factory.mktemp("a")
    release = whole_release(root)
    return packed(release, root / "release.tar"), root / "keys" / "releases.pub", release


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    """Another installation with its own key."""
    with installation(tmp_path / "b") as found:
        ensure_signing_key(found.settings.layout.keys)
        yield found


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Shared by all refusals: `refused` checks that each leaves it unchanged."""
    with installation(tmp_path_factory.mktemp("b")) as found:
        ensure_signing_key(found.settings.layout.keys)
        yield found


def refused(here: Installation, archive: Path, public_key: Path) -> FineTuneError:
    """Check that nothing was started, stored or recorded; return the reason."""
    before = here.state
    with pytest.raises(FineTuneError) as caught:
        here.take(archive, public_key)
    assert here.state == before
    assert here.probed == []
    return caught.value


def test_an_imported_release_is_recorded_with_its_import_key(
    made: tuple[Path, Path, ReleaseFolder], here: Installation
) -> None:
    archive, key, release = made
    assert here.take(archive, key) == release.release_id
    assert here.probed == [release.release_id]
    found = find_release(here.ledger, release.release_id)
    assert found is not None
    assert (found.folder, found.adapter_id) == (f"releases/{release.release_id}", release.manifest["adapter_id"])
    assert find_import_key(here.ledger, release.release_id) == release_key_fingerprint(key)
    verifier, folder = SignedReleases(here.settings.layout.keys), here.settings.data_dir / found.folder
    fingerprint = find_import_key(here.ledger, release.release_id)
    assert verifier.verify(folder, release.release_id, fingerprint).release_id == release.release_id
    with pytest.raises(ReleaseError, match=f"{release.release_id} was signed by the key"):
        verifier.verify(folder, release.release_id)
    assert [line.actor for line in audit.list_entries(here.ledger) if line.action == "imported release"] == [
        "An Operator"
    ]
    assert {path.stat().st_mode & 0o077 for path in (folder, *folder.rglob("*"))} == {0}
    assert [path.name for path in here.settings.layout.releases.iterdir()] == [release.release_id]
    assert here.messages[-1].startswith("probes on this machine: 2 of 2 prompts")


def test_the_same_release_gives_the_same_bytes_and_any_tar_lists_it(
    made: tuple[Path, Path, ReleaseFolder], tmp_path: Path
) -> None:
    """Even from another copy of the folder, with other timestamps and owners."""
    import shutil
    from dataclasses import replace

    archive, _, release = made
    copy = replace(release, folder=shutil.copytree(release.folder, tmp_path / "copy", copy_function=shutil.copyfile))
    assert packed(copy, tmp_path / "again.tar").read_bytes() == archive.read_bytes()
    names = [one.name for one, _ in members(archive)]
    assert names[:2] == ["release.sig", "manifest.json"]
    assert sorted(names) == sorted(p.relative_to(release.folder).as_posix() for p in release.folder.rglob("*.*"))


def test_a_repeated_import_changes_nothing_and_repairs_damaged_files(
    made: tuple[Path, Path, ReleaseFolder], here: Installation
) -> None:
    archive, key, release = made
    here.take(archive, key)
    before = here.state
    assert here.take(archive, key) == release.release_id
    assert (here.state, here.probed) == (before, [release.release_id])
    (here.settings.layout.releases / release.release_id / "model.gguf").write_bytes(b"damaged")
    here.take(archive, key)
    assert here.probed == [release.release_id] * 2
    assert here.state[:2] == before[:2]  # type: ignore[index]


def test_the_list_of_members_is_complete(made: tuple[Path, Path, ReleaseFolder]) -> None:
    """Otherwise the tests below would skip members."""
    assert sorted(one.name for one, _ in members(made[0])) == HELD


@pytest.mark.parametrize("name", HELD)
def test_a_changed_byte_is_refused_by_name(
    made: tuple[Path, Path, ReleaseFolder], untouched: Installation, tmp_path: Path, name: str
) -> None:
    """The first and the last byte."""
    archive, key, _ = made
    for place in (0, -1):

        def change(found: list[Member], place: int = place) -> list[Member]:
            return [(one, _flipped(content, place) if one.name == name else content) for one, content in found]

        assert name in str(refused(untouched, repacked(archive, tmp_path / "x.tar", change), key))


def _flipped(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("how", ["left out", "renamed", "doubled", "longer", "shorter", "a symlink", "a hard link"])
def test_an_altered_member_is_refused_by_name(
    made: tuple[Path, Path, ReleaseFolder], untouched: Installation, tmp_path: Path, name: str, how: str
) -> None:
    archive, key, _ = made

    def change(found: list[Member]) -> list[Member]:
        changed: list[Member] = []
        for one, content in found:
            if one.name == name and how == "renamed":
                one.name = f"{name}2"
                changed.append((one, content))
            elif one.name == name and how == "doubled":
                changed += [(one, content), (one, content)]
            elif one.name == name and how in ("longer", "shorter"):
                changed.append((one, content + b"x" if how == "longer" else content[:-1]))
            elif one.name == name and how.endswith("link"):
                kind = tarfile.SYMTYPE if how == "a symlink" else tarfile.LNKTYPE
                changed.append((entry(name, kind, "/etc/passwd"), b""))
            elif one.name != name or how != "left out":
                changed.append((one, content))
        return changed

    assert name in str(refused(untouched, repacked(archive, tmp_path / "x.tar", change), key))


HOSTILE: dict[str, Member] = {
    "another file": (entry("weights.bin"), b"x"),
    "a file that releases may hold, and this one does not": (entry("weights/model.safetensors"), b"x"),
    "a path upwards": (entry("../x"), b"x"),
    "a path upwards from inside": (entry("evidence/../../x"), b"x"),
    "an absolute path": (entry("/tmp/fine_tune_x"), b"x"),
    "a name that writes to the terminal": (entry("\x1b[2Jx"), b"x"),
    "a folder": (entry("weights", tarfile.DIRTYPE), b""),
    "a device": (entry("weights/null", tarfile.CHRTYPE), b""),
    "a pipe": (entry("README.md", tarfile.FIFOTYPE), b""),
    "a symlink": (entry("x", tarfile.SYMTYPE, "/etc/passwd"), b""),
    "a hard link": (entry("x", tarfile.LNKTYPE, "model.gguf"), b""),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_foreign_member_is_refused_by_name(
    made: tuple[Path, Path, ReleaseFolder], untouched: Installation, tmp_path: Path, what: str
) -> None:
    """At any position: first, before the manifest, among the files, or last."""
    archive, key, _ = made
    member = HOSTILE[what]
    for place in (0, 1, 2, 9, 18):

        def change(found: list[Member], place: int = place) -> list[Member]:
            return [*found[:place], member, *found[place:]]

        reason = str(refused(untouched, repacked(archive, tmp_path / "x.tar", change), key))
        assert (ascii(member[0].name) if place else "x.tar") in reason
        assert "\x1b" not in reason
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]
    assert not Path("/tmp/fine_tune_x").exists()


def test_an_archive_is_unpacked_by_a_confined_process(made: tuple[Path, Path, ReleaseFolder], tmp_path: Path) -> None:
    """The same files, and the same refusal by name."""
    archive, key, _ = made
    for name, unpack in (("here", unpack_release), ("confined", unpack_confined)):
        (tmp_path / name).mkdir()
        unpack(archive, key, tmp_path / name)
    assert fingerprint_files(tmp_path / "confined") == fingerprint_files(tmp_path / "here")
    (tmp_path / "refused").mkdir()
    foreign = repacked(archive, tmp_path / "x.tar", lambda found: [*found, HOSTILE["a path upwards"]])
    with pytest.raises(ArchiveError) as caught:
        unpack_confined(foreign, key, tmp_path / "refused")
    assert ascii(HOSTILE["a path upwards"][0].name) in str(caught.value)


def _raw(archive: Path) -> bytearray:
    return bytearray(archive.read_bytes())


def test_an_oversized_member_is_refused_before_it_is_written(
    made: tuple[Path, Path, ReleaseFolder], untouched: Installation, tmp_path: Path
) -> None:
    """A header that claims a terabyte, also for the two files that are read before the manifest is verified."""
    archive, key, _ = made
    for name in ("release.sig", "manifest.json", "model.gguf", "evidence/verdict.sig"):
        content = _raw(archive)
        with tarfile.open(archive) as tar:
            place = tar.getmember(name).offset
        large = entry(name)
        large.size = 2**40
        content[place : place + 512] = large.tobuf(tarfile.GNU_FORMAT)
        (tmp_path / "x.tar").write_bytes(content)
        assert f"{name} has {2**40} bytes" in str(refused(untouched, tmp_path / "x.tar", key))


@pytest.mark.parametrize("cut", [0, 1, 511, 512, 600, 5_000, 20_000, -1, -1024, -10240])
def test_a_truncated_archive_is_refused(
    made: tuple[Path, Path, ReleaseFolder], untouched: Installation, tmp_path: Path, cut: int
) -> None:
    archive, key, _ = made
    (tmp_path / "x.tar").write_bytes(archive.read_bytes()[:cut])
    assert isinstance(refused(untouched, tmp_path / "x.tar", key), ArchiveError)


@pytest.mark.parametrize("what", ["after the end", "in the padding", "in a header", "compressed", "zeros", "a zip"])
def test_bytes_outside_the_files_are_refused(
    made: tuple[Path, Path, ReleaseFolder], untouched: Installation, tmp_path: Path, what: str
) -> None:
    """A release has exactly one archive, which can't carry anything else."""
    import gzip

    archive, key, _ = made
    content = _raw(archive)
    with tarfile.open(archive) as tar:
        model = tar.getmember("model.gguf")
    if what == "after the end":
        content += bytes(511) + b"x"
    elif what == "in the padding":
        content[model.offset_data + model.size] = 1
    elif what == "in a header":
        model.mtime, model.uname = 1, "somebody"
        content[model.offset : model.offset + 512] = model.tobuf(tarfile.GNU_FORMAT)
    elif what == "compressed":
        content = bytearray(gzip.compress(content))
    else:
        content = bytearray(20_480) if what == "zeros" else bytearray(b"PK\x03\x04" + bytes(2_000))
    (tmp_path / "x.tar").write_bytes(content)
    assert isinstance(refused(untouched, tmp_path / "x.tar", key), ArchiveError)


def test_sparse_files_and_headers_about_other_members_are_refused(
    made: tuple[Path, Path, ReleaseFolder], untouched: Installation, tmp_path: Path
) -> None:
    """Python's tar reader would apply them: other names, other sizes, or gigabytes of zeros."""
    archive, key, _ = made
    for kind in (tarfile.GNUTYPE_SPARSE, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.CONTTYPE):
        found = members(archive)
        header = entry("model.gguf", kind)
        target = tmp_path / f"{kind.decode()}.tar"
        write_members(target, found)
        content = _raw(target)
        with tarfile.open(target) as tar:
            place, header.size = tar.getmember("model.gguf").offset, tar.getmember("model.gguf").size
        content[place : place + 512] = header.tobuf(tarfile.GNU_FORMAT)
        target.write_bytes(content)
        assert "model.gguf" in str(refused(untouched, target, key))


def test_a_release_with_another_signature_or_none_is_refused(
    made: tuple[Path, Path, ReleaseFolder], untouched: Installation, tmp_path: Path
) -> None:
    archive, key, _ = made
    own = untouched.settings.layout.keys / "releases.pub"
    assert release_key_fingerprint(own)[:16] in str(refused(untouched, archive, own))
    assert "P-256" in str(refused(untouched, archive, key.with_name("verdicts.pub")))

    def unsigned(found: list[Member]) -> list[Member]:
        return found[1:]

    def signed_with_nothing(found: list[Member]) -> list[Member]:
        return [(found[0][0], b"{}"), *found[1:]]

    for change in (unsigned, signed_with_nothing):
        assert "release.sig" in str(refused(untouched, repacked(archive, tmp_path / "x.tar", change), key))


def test_a_release_with_a_forged_key_hint_is_refused(
    made: tuple[Path, Path, ReleaseFolder], untouched: Installation, tmp_path: Path
) -> None:
    """Anyone can write the hint in a signature: only the signature itself is verified."""
    _, key, _ = made
    foreign = whole_release(tmp_path / "c")
    archive = packed(foreign, tmp_path / "foreign.tar")

    def claim(found: list[Member]) -> list[Member]:
        said = json.loads(found[0][1])
        said["verificationMaterial"]["publicKey"]["hint"] = release_key_fingerprint(key)
        return [(found[0][0], json.dumps(said).encode()), *found[1:]]

    assert "signature of release foreign.tar" in str(
        refused(untouched, repacked(archive, tmp_path / "foreign.tar", claim), key)
    )


def _beyond(release: ReleaseFolder, change: dict[str, Any], part: str) -> dict[str, str]:
    parity = json.loads((release.folder / "evidence" / "parity.json").read_text(encoding="utf-8"))
    parity["hops"][1][part] |= change
    return {"evidence/parity.json": json.dumps(parity)}


SIGNED_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "verdict for another adapter": ({"facts": {"adapter_id": "adapter-2"}}, "adapter_id differ"),
    "verdict for another base model": ({"facts": {"base_fingerprint": "base-2"}}, "base_fingerprint differ"),
    "verdict for another product line": ({"facts": {"line": "another-line"}}, "line differ"),
    "verdict for another set": ({"facts": {"instruction_set_fingerprint": "set-2"}}, "different instruction set"),
    "refused": (
        {
            "verdict": make_verdict("refuse", evidence=json.dumps(EVIDENCE, sort_keys=True)),
            "facts": {"verdict_signers": ["A"]},
        },
        "has the verdict refuse",
    ),
    "hold without a signature": (
        {"verdict": make_verdict("hold", evidence=json.dumps(EVIDENCE, sort_keys=True))},
        "the verdict hold without a signature",
    ),
    "other weights than were measured": ({"facts": {"served_fingerprint": "0" * 64}}, "the parity measurement covers"),
    "no merged weights named": ({"facts": {"weights_fingerprint": None}}, "lacks weights_fingerprint"),
    "no probes": ({"without": ("probes.json",)}, "lacks its probes"),
}


@pytest.mark.parametrize("fault", SIGNED_FAULTS)
def test_a_signed_release_with_invalid_evidence_is_refused(untouched: Installation, tmp_path: Path, fault: str) -> None:
    """The signature proves who built it, not that it may be served."""
    changes, reason = SIGNED_FAULTS[fault]
    release = whole_release(tmp_path / "a", **changes)
    archive = packed(release, tmp_path / "x.tar")
    assert reason in str(refused(untouched, archive, tmp_path / "a" / "keys" / "releases.pub"))


BEYOND: dict[str, tuple[str, dict[str, Any]]] = {
    "mean_kl": ("metrics", {"mean_kl": 0.5}),
    "top1_agreement": ("metrics", {"top1_agreement": 0.5}),
    "greedy_agreement": ("metrics", {"greedy_agreement": 0.5}),
    "loss_increase": ("metrics", {"loss_increase": 0.5}),
    "not a number": ("metrics", {"mean_kl": float("nan")}),
    "not measured": ("metrics", {"loss_increase": None}),
    "no limit": ("limits", {"minimum_top1": None}),
    "a word": ("metrics", {"mean_kl": "low"}),
}


@pytest.mark.parametrize("what", BEYOND)
def test_parity_beyond_its_limits_is_refused_even_if_marked_as_passed(
    made: tuple[Path, Path, ReleaseFolder], untouched: Installation, tmp_path: Path, what: str
) -> None:
    part, change = BEYOND[what]
    release = whole_release(tmp_path / "a", other=_beyond(made[2], change, part))
    archive = packed(release, tmp_path / "x.tar")
    reason = str(refused(untouched, archive, tmp_path / "a" / "keys" / "releases.pub"))
    assert "the hop from safetensors to q8_0" in reason


def test_a_signed_hold_is_imported_with_the_names_of_its_approvers(here: Installation, tmp_path: Path) -> None:
    verdict = make_verdict("hold", evidence=json.dumps(EVIDENCE, sort_keys=True))
    release = whole_release(tmp_path / "a", verdict=verdict, facts={"verdict_signers": ["An Approver"]})
    here.take(packed(release, tmp_path / "x.tar"), tmp_path / "a" / "keys" / "releases.pub")
    found = find_import(here.ledger, release.release_id)
    assert found is not None
    assert (found.verdict, found.signers) == (verdict, ("An Approver",))


def test_failed_probes_leave_nothing_behind(made: tuple[Path, Path, ReleaseFolder], here: Installation) -> None:
    """On another processor or engine, the answers can differ from the judged ones."""
    archive, key, _ = made
    before = here.state

    def fail(_release: ReleaseFolder, _settings: object) -> Any:
        raise ProbeError("1 of 2")

    with pytest.raises(ProbeError):
        import_release(
            ImportRequest(archive, key, "An Operator"), here.settings, here.ledger, here.messages.append, fail
        )
    assert here.state == before


def test_a_local_verdict_takes_precedence(made: tuple[Path, Path, ReleaseFolder], here: Installation) -> None:
    """A candidate refused by this installation can't be imported from another one."""
    archive, key, _ = made
    record_verdict(here.ledger, make_verdict("refuse", reasons=("It was worse here.",)))
    assert isinstance(refused(here, archive, key), GateClosedError)


def test_a_removed_local_release_is_rebuilt_and_not_imported(
    made: tuple[Path, Path, ReleaseFolder], here: Installation, tmp_path: Path
) -> None:
    """It may have been removed because a subject was erased."""
    archive, key, release = made
    with installation(tmp_path / "other") as other:
        other.take(archive, key)
        known = find_release(other.ledger, release.release_id)
    assert known is not None
    record_verdict(here.ledger, make_verdict("promote", evidence=json.dumps(EVIDENCE, sort_keys=True)))
    record_release(here.ledger, known)
    with here.ledger.begin() as connection:
        mark_removed(connection, release.release_id, "An Operator")
    assert isinstance(refused(here, archive, key), LedgerError)


def test_a_removed_imported_release_can_be_imported_again(
    made: tuple[Path, Path, ReleaseFolder], here: Installation
) -> None:
    archive, key, release = made
    here.take(archive, key)
    with here.ledger.begin() as connection:
        mark_removed(connection, release.release_id, "An Operator")
    here.take(archive, key)
    assert here.probed == [release.release_id] * 2


def test_a_failed_move_of_the_folder_records_nothing(
    made: tuple[Path, Path, ReleaseFolder], here: Installation
) -> None:
    """Key, folder and row are stored together or not at all."""
    archive, key, release = made
    blocked = imported_key_file(here.settings.layout.keys, release.release_id)
    blocked.mkdir(parents=True)
    before = here.state
    with pytest.raises(OSError, match="directory"):
        here.take(archive, key)
    assert here.state == before


@pytest.mark.parametrize("is_here", [True, False])
def test_the_base_model_of_the_manifest_must_be_present(here: Installation, tmp_path: Path, is_here: bool) -> None:
    """The archive of an adapter does not contain it."""
    from fine_tune_assets.training.base_models.registration import bundled_gguf

    bundled = bundled_gguf()
    wanted = {"name": bundled.name, "sha256": fingerprint_file(bundled)}
    wanted |= {} if is_here else {"sha256": "0" * 64}
    release = whole_release(tmp_path / "a", facts={"base_gguf": wanted})
    archive, key = packed(release, tmp_path / "x.tar"), tmp_path / "a" / "keys" / "releases.pub"
    if is_here:
        assert here.take(archive, key) == release.release_id
    else:
        assert "0" * 12 in str(refused(here, archive, key))


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words])


def test_export_and_import_on_the_command_line(
    made: tuple[Path, Path, ReleaseFolder], here: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An imported release can be exported again with its builder's key; `list` shows its origin."""
    archive, key, release = made
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(here.settings.data_dir))
    assert run("releases", "export", release.release_id, str(tmp_path / "x.tar")).exit_code == 1
    assert not (tmp_path / "x.tar").exists()
    here.take(archive, key)
    done = run("releases", "export", release.release_id, str(tmp_path / "x.tar"))
    assert done.exit_code == 0, done.output
    assert release_key_fingerprint(key) in done.output
    assert (tmp_path / "x.tar").read_bytes() == archive.read_bytes()
    assert run("releases", "export", release.release_id, str(tmp_path / "x.tar")).exit_code == 1
    listed = run("releases", "list").output
    assert f"imported, key {release_key_fingerprint(key)[:16]}" in listed
    again = run("releases", "import", str(archive), "--public-key", str(key))
    assert again.exit_code == 0, again.output
    assert "already here" in again.output
    assert run("releases", "import", str(archive)).exit_code == 2
    assert (OS_USER, "exported release") in [(line.actor, line.action) for line in audit.list_entries(here.ledger)]
    refused = run("releases", "deploy", "0" * 16)
    assert (refused.exit_code, "0" * 16 in refused.output) == (1, True)


def test_a_damaged_release_is_not_exported(
    made: tuple[Path, Path, ReleaseFolder], here: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, key, release = made
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(here.settings.data_dir))
    here.take(archive, key)
    (here.settings.layout.releases / release.release_id / "prompt.json").write_text("{}")
    done = run("releases", "export", release.release_id, str(tmp_path / "x.tar"))
    assert (done.exit_code, "prompt.json" in done.output) == (1, True)
    assert not (tmp_path / "x.tar").exists()
