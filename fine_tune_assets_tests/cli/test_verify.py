"""`fine-tune verify`: what proves a release, and every way in which one is refused."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.cli.releases.release_proofs import HOLDS
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.releases.release_folders import ReleaseFolder
from fine_tune_assets.core.releases.release_keys import ensure_signing_key
from fine_tune_assets_tests.ledger.made import make_verdict
from fine_tune_assets_tests.merging.released import EVIDENCE, whole_release


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReleaseFolder, Path]:
    """A release, and the public key that proves it."""
    root = tmp_path_factory.mktemp("built")
    return whole_release(root), root / "keys" / "releases.pub"


def verify(folder: Path, public_key: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["verify", str(folder), "--public-key", str(public_key), *more])


def test_a_whole_release_is_proven_line_by_line(built: tuple[ReleaseFolder, Path]) -> None:
    """What was looked at is said."""
    release, key = built
    done = verify(release.folder, key, "--release-id", release.release_id)
    assert done.exit_code == 0, done.output
    assert f"release {release.release_id}: the fingerprint of manifest.json" in done.output
    assert "nothing was changed, removed or added" in done.output
    assert f"verdict {release.manifest['verdict_id']}: signed by the key" in done.output
    assert "decision: promote" in done.output
    assert "how it answers from documents: knowledge_index.json" in done.output
    assert "hops: adapter to safetensors to q8_0, each within its limits" in done.output
    assert done.output.endswith("The release is whole.\n")
    for what, name in HOLDS.items():
        assert f"{what}: {name}" in done.output


def test_every_single_file_is_watched(built: tuple[ReleaseFolder, Path], tmp_path: Path) -> None:
    """Changed by a byte or gone: refused, whichever it is."""
    release, key = built
    names = sorted(p.relative_to(release.folder) for p in release.folder.rglob("*") if p.is_file())
    assert len(names) == 18
    for number, name in enumerate(names):
        for change in ("changed", "removed"):
            copy = shutil.copytree(release.folder, tmp_path / f"{number}-{change}")
            content = (copy / name).read_bytes()
            (copy / name).unlink()
            if change == "changed":
                (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            done = verify(copy, key)
            assert done.exit_code == 1, (name, change, done.output)
            assert "The release is whole." not in done.output


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file added": (lambda f: (f / "weights.bin").write_bytes(b"x"), "1 files unexpected ['weights.bin']"),
    "a hidden file added": (lambda f: (f / ".gitattributes").write_bytes(b"x"), "unexpected ['.gitattributes']"),
    "a link added": (lambda f: (f / "more").symlink_to("/"), "more is a link"),
    "the manifest changed": (
        lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text() + " "),
        "1 files changed ['manifest.json']",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_added_or_said_otherwise_is_refused(
    built: tuple[ReleaseFolder, Path], tmp_path: Path, what: str
) -> None:
    release, key = built
    copy = shutil.copytree(release.folder, tmp_path / "copy")
    do, reason = TAMPERED[what]
    do(copy)
    done = verify(copy, key)
    assert done.exit_code == 1
    assert reason in done.output


def test_another_releases_signature_key_or_id_is_refused(built: tuple[ReleaseFolder, Path], tmp_path: Path) -> None:
    release, key = built
    other = whole_release(key.parent.parent, facts={"recipe": "another"})
    copy = shutil.copytree(release.folder, tmp_path / "copy")
    shutil.copy(other.folder / "release.sig", copy)
    assert "files changed ['manifest.json']" in verify(copy, key).output
    foreign = ensure_signing_key(tmp_path / "keys")
    refused = verify(release.folder, foreign)
    assert (refused.exit_code, "was signed by another key" in refused.output) == (1, True)
    refused = verify(release.folder, key, "--release-id", other.release_id)
    assert (refused.exit_code, f"and not {other.release_id}" in refused.output) == (1, True)
    refused = verify(release.folder, key.with_name("verdicts.pub"))
    assert (refused.exit_code, "not one that releases are signed with" in refused.output) == (1, True)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "verdict on another adapter": ({"facts": {"adapter_id": "adapter-2"}}, "adapter_id differ"),
    "verdict on another set": ({"facts": {"instruction_set_fingerprint": "set-2"}}, "another instruction set"),
    "hold that nobody signed": (
        {"verdict": make_verdict("hold", evidence=json.dumps(EVIDENCE, sort_keys=True))},
        "rests on the verdict hold, which nobody signed",
    ),
    "refusal that somebody signed": (
        {
            "verdict": make_verdict("refuse", evidence=json.dumps(EVIDENCE, sort_keys=True)),
            "facts": {"verdict_signers": ["A"]},
        },
        "rests on the verdict refuse",
    ),
    "another model": ({"facts": {"served_fingerprint": "0" * 64}}, "not the one whose parity was measured"),
    "no model that was measured": ({"facts": {"served_fingerprint": ""}}, "not the one whose parity was measured"),
    "no parity": ({"without": ("evidence/parity.json",)}, "has no parity (evidence/parity.json)"),
    "no probes": ({"without": ("probes.json",)}, "has no probes (probes.json)"),
    "no bill of materials": ({"without": ("sbom.cdx.json",)}, "has no bill of materials"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_signed_release_without_its_evidence_is_refused(tmp_path: Path, fault: str) -> None:
    """A signature proves who made it, not that it holds what a release must."""
    changes, reason = FAULTS[fault]
    release = whole_release(tmp_path, **changes)
    done = verify(release.folder, tmp_path / "keys" / "releases.pub")
    assert done.exit_code == 1
    assert reason in done.output


def _hops(release: ReleaseFolder) -> dict[str, Any]:
    return dict(json.loads((release.folder / "evidence" / "parity.json").read_text(encoding="utf-8")))


HOPS: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]] = {
    "none": (lambda _: [], "there is no hop"),
    "one that failed": (
        lambda hops: [hops[0] | {"is_passed": False}, hops[1]],
        "the hop from adapter to safetensors did not pass",
    ),
    "one that says nothing": (
        lambda hops: [hops[0], hops[1] | {"is_passed": None}],
        "the hop from safetensors to q8_0 did not pass",
    ),
    "of another adapter": (
        lambda hops: [hops[0] | {"from_fingerprint": "adapter-2"}, hops[1]],
        "the hop from adapter to safetensors starts at something else",
    ),
    "of other merged weights": (
        lambda hops: [hops[0], hops[1] | {"from_fingerprint": "0" * 64}],
        "the hop from safetensors to q8_0 starts at something else",
    ),
    "the first alone": (lambda hops: hops[:1], "does not end at the model that is served"),
    "the last alone": (lambda hops: hops[1:], "starts at something else"),
    "to another model": (
        lambda hops: [hops[0], hops[1] | {"to_fingerprint": "0" * 64}],
        "does not end at the model that is served",
    ),
    "no list": (lambda _: "passed", "evidence/parity.json can't be read"),
    "without its ends": (lambda _: [{"is_passed": True}], "evidence/parity.json can't be read"),
}


@pytest.mark.parametrize("hops", HOPS)
def test_a_release_whose_parity_is_missing_or_broken_is_refused(
    built: tuple[ReleaseFolder, Path], tmp_path: Path, hops: str
) -> None:
    """The document being there proves nothing: what was judged must lead to what is served, and each step must have passed."""
    change, reason = HOPS[hops]
    parity = _hops(built[0])
    parity["hops"] = change(parity["hops"])
    release = whole_release(tmp_path, other={"evidence/parity.json": json.dumps(parity)})
    done = verify(release.folder, tmp_path / "keys" / "releases.pub")
    assert done.exit_code == 1
    assert reason in done.output


def test_a_parity_that_is_no_json_is_refused(tmp_path: Path) -> None:
    release = whole_release(tmp_path, other={"evidence/parity.json": "passed"})
    done = verify(release.folder, tmp_path / "keys" / "releases.pub")
    assert (done.exit_code, "evidence/parity.json can't be read" in done.output) == (1, True)


def test_merged_weights_that_are_served_as_they_are_have_one_hop(tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / "model.safetensors").write_bytes(b"tensors")
    release = whole_release(tmp_path, model=merged, facts={"engine": "vllm"})
    done = verify(release.folder, tmp_path / "keys" / "releases.pub")
    assert done.exit_code == 0, done.output
    assert "hops: adapter to safetensors, each within its limits" in done.output


def test_an_approvers_word_stands_in_the_decision(tmp_path: Path) -> None:
    verdict = make_verdict("hold", evidence=json.dumps(EVIDENCE, sort_keys=True))
    release = whole_release(tmp_path, verdict=verdict, facts={"verdict_signers": ["An Approver"]})
    done = verify(release.folder, tmp_path / "keys" / "releases.pub")
    assert "decision: hold, signed by An Approver" in done.output


def test_a_verdict_that_another_pair_signed_is_refused(tmp_path: Path) -> None:
    """Also when the release around it is signed: the document has a signature of its own."""
    from dataclasses import replace

    from fine_tune_assets.core.keys import public_key_file, sign
    from fine_tune_assets.merging.release_build import build_release
    from fine_tune_assets_tests.merging.released import release_parts

    parts = release_parts(tmp_path)
    sign(tmp_path / "theirs", "verdicts", b"x")
    foreign = {"evidence/verdicts.pub": public_key_file(tmp_path / "theirs", "verdicts").read_bytes()}
    keys = tmp_path / "keys"
    release = build_release(tmp_path / "releases", replace(parts, seals={**parts.seals, **foreign}), keys)
    done = verify(release.folder, keys / "releases.pub")
    assert done.exit_code == 1
    assert "The signature on verdict.json does not hold" in done.output


ALONE = """
import sys
for name in ("torch", "transformers", "dagster", "vllm", "llama_cpp"):
    sys.modules[name] = None  # as if it was not installed: importing it raises
from fine_tune_assets.cli.main import main
main(sys.argv[1:], prog_name="fine-tune", standalone_mode=False)
"""
ATTEMPTS = (
    "awk '/^Ip:/ && $13 ~ /[0-9]/ {n += $13} /^Ip6OutNoRoutes/ {n += $2} END {print n}' /proc/net/snmp /proc/net/snmp6"
)


def test_it_needs_no_network_no_model_library_no_ledger_and_no_settings(
    built: tuple[ReleaseFolder, Path], tmp_path: Path
) -> None:
    """Where only the folder and the key are: in a network namespace without a way out, in which every attempt is counted."""
    release, key = built
    folder = shutil.copytree(release.folder, tmp_path / "copied")
    (tmp_path / "home").mkdir()
    before = sorted(tmp_path.rglob("*"))
    command = f'ip link set lo up; "$0" -c "$1" verify "$2" --public-key "$3"; {ATTEMPTS}'
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-ec", command, sys.executable, ALONE, str(folder), str(key)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": str(PROJECT_DIR), "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("The release is whole.\n0\n")
    assert sorted(tmp_path.rglob("*")) == before
