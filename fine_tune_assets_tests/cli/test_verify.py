"""`fine-tune releases verify`: a valid release verifies, and every defect is refused."""

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
from fine_tune_assets.cli.releases.release_proofs import REQUIRED_FILES
from fine_tune_assets.core.errors import GATE_CLOSED
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.releases.release_folders import ReleaseFolder
from fine_tune_assets.core.releases.release_keys import ensure_signing_key
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict
from fine_tune_assets_tests.merging.whole_release import EVIDENCE, whole_release
from fine_tune_assets_tests.system_programs import IPROUTE2, require_program


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[ReleaseFolder, Path]:
    """A release and its public key."""
    root = tmp_path_factory.mktemp("built")
    return whole_release(root), root / "keys" / "releases.pub"


def verify(folder: Path, public_key: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["releases", "verify", str(folder), "--public-key", str(public_key), *more])


def test_an_intact_release_verifies_line_by_line(built: tuple[ReleaseFolder, Path]) -> None:
    """The output lists every check."""
    release, key = built
    done = verify(release.folder, key, "--release-id", release.release_id)
    assert done.exit_code == 0, done.output
    assert f"release {release.release_id}: the fingerprint of manifest.json" in done.output
    assert "none changed, removed or added" in done.output
    assert f"verdict {release.manifest['verdict_id']}: signed by key" in done.output
    assert "decision: promote" in done.output
    assert "retrieval settings: knowledge_index.json" in done.output
    assert "parity: adapter to safetensors to q8_0, each within its limits" in done.output
    assert done.output.endswith("The release is intact.\n")
    for what, name in REQUIRED_FILES.items():
        assert f"{what}: {name}" in done.output


def test_a_change_to_any_file_is_refused(built: tuple[ReleaseFolder, Path], tmp_path: Path) -> None:
    """Both a changed byte and a missing file are refused."""
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
            assert "The release is intact." not in done.output


TAMPERED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file added": (lambda f: (f / "weights.bin").write_bytes(b"x"), "1 files unexpected ['weights.bin']"),
    "a hidden file added": (lambda f: (f / ".gitattributes").write_bytes(b"x"), "unexpected ['.gitattributes']"),
    "a link added": (lambda f: (f / "more").symlink_to("/"), "more is not a regular file"),
    "the manifest changed": (
        lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text() + " "),
        "1 files changed ['manifest.json']",
    ),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_an_added_file_or_altered_statement_is_refused(
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
    assert (refused.exit_code, f"Release {release.release_id} was signed by" in refused.output) == (1, True)
    refused = verify(release.folder, key, "--release-id", other.release_id)
    assert (refused.exit_code, f"not {other.release_id}" in refused.output) == (1, True)
    refused = verify(release.folder, key.with_name("verdicts.pub"))
    assert (refused.exit_code, "P-256" in refused.output) == (1, True)


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "verdict on another adapter": ({"facts": {"adapter_id": "adapter-2"}}, "adapter_id differ"),
    "verdict on another set": ({"facts": {"instruction_set_fingerprint": "set-2"}}, "different instruction set"),
    "hold without a signature": (
        {"verdict": make_verdict("hold", evidence=json.dumps(EVIDENCE, sort_keys=True))},
        "the verdict hold without a signature",
    ),
    "refusal with a signature": (
        {
            "verdict": make_verdict("refuse", evidence=json.dumps(EVIDENCE, sort_keys=True)),
            "facts": {"verdict_signers": ["A"]},
        },
        "has the verdict refuse",
    ),
    "another model": ({"facts": {"served_fingerprint": "0" * 64}}, "not the one that the parity measurement covers"),
    "no model that was measured": (
        {"facts": {"served_fingerprint": ""}},
        "not the one that the parity measurement covers",
    ),
    "no parity": ({"without": ("evidence/parity.json",)}, "lacks its parity (evidence/parity.json)"),
    "no probes": ({"without": ("probes.json",)}, "lacks its probes (probes.json)"),
    "no bill of materials": ({"without": ("sbom.cdx.json",)}, "lacks its bill of materials"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_signed_release_without_its_evidence_is_refused(tmp_path: Path, fault: str) -> None:
    """A signature proves who built the release, not that its contents are complete."""
    changes, reason = FAULTS[fault]
    release = whole_release(tmp_path, **changes)
    done = verify(release.folder, tmp_path / "keys" / "releases.pub")
    assert done.exit_code == 1
    assert reason in done.output


def _hops(release: ReleaseFolder) -> dict[str, Any]:
    return dict(json.loads((release.folder / "evidence" / "parity.json").read_text(encoding="utf-8")))


HOPS: dict[str, tuple[Callable[[list[dict[str, Any]]], Any], str]] = {
    "none": (lambda _: [], "no hop"),
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
        "the hop from adapter to safetensors does not start where",
    ),
    "of other merged weights": (
        lambda hops: [hops[0], hops[1] | {"from_fingerprint": "0" * 64}],
        "the hop from safetensors to q8_0 does not start where",
    ),
    "the first alone": (lambda hops: hops[:1], "does not end at the served model"),
    "the last alone": (lambda hops: hops[1:], "does not start where"),
    "to another model": (
        lambda hops: [hops[0], hops[1] | {"to_fingerprint": "0" * 64}],
        "does not end at the served model",
    ),
    "no list": (lambda _: "passed", "evidence/parity.json can't be read"),
    "without its ends": (lambda _: [{"is_passed": True}], "evidence/parity.json can't be read"),
}


@pytest.mark.parametrize("hops", HOPS)
def test_a_release_whose_parity_is_missing_or_broken_is_refused(
    built: tuple[ReleaseFolder, Path], tmp_path: Path, hops: str
) -> None:
    """The document's existence proves nothing: its steps must connect the judged model to the served one, and each must pass."""
    change, reason = HOPS[hops]
    parity = _hops(built[0])
    parity["hops"] = change(parity["hops"])
    release = whole_release(tmp_path, other={"evidence/parity.json": json.dumps(parity)})
    done = verify(release.folder, tmp_path / "keys" / "releases.pub")
    assert done.exit_code == 1
    assert reason in done.output


def test_a_parity_document_that_is_not_json_is_refused(tmp_path: Path) -> None:
    release = whole_release(tmp_path, other={"evidence/parity.json": "passed"})
    done = verify(release.folder, tmp_path / "keys" / "releases.pub")
    assert (done.exit_code, "evidence/parity.json can't be read" in done.output) == (1, True)


def test_merged_weights_that_are_served_directly_have_one_hop(tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    merged.mkdir()
    (merged / "model.safetensors").write_bytes(b"tensors")
    release = whole_release(tmp_path, model=merged, facts={"engine": "vllm"})
    done = verify(release.folder, tmp_path / "keys" / "releases.pub")
    assert done.exit_code == 0, done.output
    assert "parity: adapter to safetensors, each within its limits" in done.output


def test_the_decision_contains_the_approvers_reason(tmp_path: Path) -> None:
    verdict = make_verdict("hold", evidence=json.dumps(EVIDENCE, sort_keys=True))
    release = whole_release(tmp_path, verdict=verdict, facts={"verdict_signers": ["An Approver"]})
    done = verify(release.folder, tmp_path / "keys" / "releases.pub")
    assert "decision: hold, signed by An Approver" in done.output


def test_a_verdict_signed_with_another_key_pair_is_refused(tmp_path: Path) -> None:
    """Even in a signed release: the document has a separate signature."""
    from dataclasses import replace

    from fine_tune_assets.core.keys import public_key_file, sign
    from fine_tune_assets.merging.release_build import build_release
    from fine_tune_assets_tests.merging.whole_release import release_parts

    parts = release_parts(tmp_path)
    sign(tmp_path / "theirs", "verdicts", b"x")
    foreign = {"evidence/verdicts.pub": public_key_file(tmp_path / "theirs", "verdicts").read_bytes()}
    keys = tmp_path / "keys"
    release = build_release(tmp_path / "releases", replace(parts, signatures={**parts.signatures, **foreign}), keys)
    done = verify(release.folder, keys / "releases.pub")
    assert done.exit_code == GATE_CLOSED
    assert "verdict.json" in done.output


ALONE = """
import sys
for name in ("torch", "transformers", "dagster", "vllm", "llama_cpp"):
    sys.modules[name] = None  # as if it were not installed: importing it raises
from fine_tune_assets.cli.main import main
main(sys.argv[1:], prog_name="fine-tune", standalone_mode=False)
"""
ATTEMPTS = (
    "awk '/^Ip:/ && $13 ~ /[0-9]/ {n += $13} /^Ip6OutNoRoutes/ {n += $2} END {print n}' /proc/net/snmp /proc/net/snmp6"
)


def test_it_needs_no_network_no_model_library_no_ledger_and_no_settings(
    built: tuple[ReleaseFolder, Path], tmp_path: Path
) -> None:
    """Runs with only the folder and the key, in an isolated network namespace that counts every attempt."""
    require_program(IPROUTE2)
    release, key = built
    folder = shutil.copytree(release.folder, tmp_path / "copied")
    (tmp_path / "home").mkdir()
    before = sorted(tmp_path.rglob("*"))
    command = f'ip link set lo up; "$0" -c "$1" releases verify "$2" --public-key "$3"; {ATTEMPTS}'
    done = subprocess.run(
        ["unshare", "-rn", "sh", "-ec", command, sys.executable, ALONE, str(folder), str(key)],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": str(PROJECT_DIR), "HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("The release is intact.\n0\n")
    assert sorted(tmp_path.rglob("*")) == before
