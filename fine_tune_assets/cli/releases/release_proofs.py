"""`fine-tune releases verify`: verify a release from its folder and a public key, without ledger, settings or network.

The signature is checked first, so that everything read afterwards is signed content. Imports nothing that runs a model.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import click

from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.releases.release_folders import (
    EVIDENCE,
    MANIFEST,
    PROBES,
    RETRIEVAL,
    VERDICT_DOCUMENT,
    VERDICT_KEY,
    HashFile,
    ReleaseError,
    ReleaseFolder,
    hash_release_files,
    read_release,
    verify_release,
)
from fine_tune_assets.core.releases.release_keys import release_key_fingerprint
from fine_tune_assets.core.releases.release_signing import require_release_signature
from fine_tune_assets.core.shared_records import Verdict
from fine_tune_assets.ledger.serving.imported_releases import can_promote
from fine_tune_assets.ledger.serving.verdict_documents import verify_document
from fine_tune_assets.merging.certificates import find_parity_gap

_BOUND = ("line", "verdict_id", "adapter_id", "base_fingerprint", "instruction_set_fingerprint")
REQUIRED_FILES = {
    "prompt contract": "prompt.json",
    "probes": PROBES,
    "recipe": "recipe.yaml",
    "retrieval settings": RETRIEVAL,
    "manifest of the instruction set": f"{EVIDENCE}/instruction_set.json",
    "scrub certificate": f"{EVIDENCE}/scrub_certificate.json",
    "leakage certificate": f"{EVIDENCE}/leakage_certificate.json",
    "judge qualification": f"{EVIDENCE}/judge_qualification.json",
    "parity": f"{EVIDENCE}/parity.json",
    "bill of materials": "sbom.cdx.json",
    "model card": "README.md",
    "dataset card": "DATASET_CARD.md",
}
"""Required content of a release → file."""


@click.command("verify")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--public-key",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="releases.pub of the building installation.",
)
@click.option("--release-id", help="Expected release; default: any signed one.")
def verify_command(folder: Path, public_key: Path, release_id: str | None) -> None:
    """Verify a release offline, from its folder."""
    for line in prove_release(folder, public_key, release_id):
        click.echo(line)
    click.echo("The release is intact.")


def prove_release(
    folder: Path, public_key: Path, release_id: str | None, hash_file: HashFile = fingerprint_file
) -> Iterator[str]:
    """One line for each check that passes. Raises ReleaseError, SettingsError or SignatureError at the first that fails."""
    key = release_key_fingerprint(public_key)
    files = hash_release_files(folder, hash_file)
    require_release_signature(folder, folder.name, public_key, files)
    yield f"signature: {len(files) - 1} files, by key {key}; none changed, removed or added"
    release = read_release(folder)
    if release_id is not None and release.release_id != release_id:
        raise ReleaseError(f"This is release {release.release_id}, not {release_id}.")
    verify_release(folder, release.release_id, files=files)
    yield f"release {release.release_id}: the fingerprint of {MANIFEST}, which lists the hash of every file"
    yield _model(release)
    yield from _contents(release)
    yield from _verdict(release)
    yield _hops(release)


def _model(release: ReleaseFolder) -> str:
    wanted = release.manifest.get("served_fingerprint")
    if not wanted or release.model_fingerprint != wanted:
        raise ReleaseError(
            f"Release {release.release_id}: its model is not the one that the parity measurement covers."
        )
    return f"model: {release.model.name} for {release.engine}, {wanted}"


def _contents(release: ReleaseFolder) -> Iterator[str]:
    there = release.manifest["files"]
    for what, name in REQUIRED_FILES.items():
        if name not in there:
            raise ReleaseError(f"Release {release.release_id} lacks its {what} ({name}).")
        yield f"{what}: {name}"
    stored = json.loads(
        (release.folder / REQUIRED_FILES["manifest of the instruction set"]).read_text(encoding="utf-8")
    )
    if stored.get("fingerprint") != release.manifest["instruction_set_fingerprint"]:
        raise ReleaseError(f"Release {release.release_id} contains the manifest of a different instruction set.")


def _hops(release: ReleaseFolder) -> str:
    """Each step from the judged adapter to the served model is within its limits."""
    manifest = release.manifest
    try:
        parity = json.loads((release.folder / REQUIRED_FILES["parity"]).read_text(encoding="utf-8"))
        why = find_parity_gap(parity, manifest["adapter_id"], manifest["served_fingerprint"])
        forms = [str(hop["to"]) for hop in parity["hops"]]
    except (ValueError, LookupError, TypeError) as error:
        raise ReleaseError(f"Release {release.release_id}: {REQUIRED_FILES['parity']} can't be read.") from error
    if why:
        raise ReleaseError(f"Release {release.release_id}: its parity is not proven: {why}.")
    return f"parity: adapter to {' to '.join(forms)}, each within its limits"


def _verdict(release: ReleaseFolder) -> Iterator[str]:
    """Verdicts have a separate key pair; the release contains and signs its public key."""
    proven = verify_document(release.folder / VERDICT_DOCUMENT, release.folder / VERDICT_KEY)
    verdict, manifest = proven.verdict, release.manifest
    other = [name for name in _BOUND if getattr(verdict, name) != manifest.get(name)]
    if other:
        raise ReleaseError(
            f"Release {release.release_id} contains a verdict about something else: {', '.join(other)} differ."
        )
    yield f"verdict {verdict.verdict_id}: signed by key {proven.key_fingerprint}, about this release"
    yield f"decision: {_decision(verdict, manifest.get('verdict_signers', []), release.release_id)}"


def _decision(verdict: Verdict, signers: list[str], release_id: str) -> str:
    if not can_promote(verdict, signers):
        missing = " without a signature" if verdict.decision == "hold" else ""
        raise ReleaseError(f"Release {release_id} has the verdict {verdict.decision}{missing}.")
    return "promote" if verdict.decision == "promote" else f"hold, signed by {', '.join(signers)}"
