"""`fine-tune verify`: the proof of a release, line by line, on a machine that has only its folder and a public key.

Owns the order, and what a release must hold. The signature comes first: what is read after it was signed as it is. Asks no ledger
and no settings, and imports nothing that runs a model.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import click

from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.records import Verdict
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
    read_release,
    release_files,
    verify_release,
)
from fine_tune_assets.core.releases.release_keys import release_key_fingerprint
from fine_tune_assets.core.releases.release_signing import require_release_signature
from fine_tune_assets.ledger.serving.imported_releases import lets_through
from fine_tune_assets.ledger.serving.verdict_documents import prove
from fine_tune_assets.merging.certificates import missing_proof

_BOUND = ("line", "verdict_id", "adapter_id", "base_fingerprint", "instruction_set_fingerprint")
HOLDS = {
    "prompt contract": "prompt.json",
    "probes": PROBES,
    "recipe": "recipe.yaml",
    "how it answers from documents": RETRIEVAL,
    "manifest of the instruction set": f"{EVIDENCE}/instruction_set.json",
    "scrub certificate": f"{EVIDENCE}/scrub_certificate.json",
    "leakage certificate": f"{EVIDENCE}/leakage_certificate.json",
    "judge licence": f"{EVIDENCE}/judge_licence.json",
    "parity": f"{EVIDENCE}/parity.json",
    "bill of materials": "sbom.cdx.json",
    "model card": "README.md",
    "dataset card": "DATASET_CARD.md",
}
"""What every release holds, and where."""


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--public-key",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Whose release it must be: the file releases.pub.",
)
@click.option("--release-id", help="The release that it must be; any that was signed if absent.")
def verify(folder: Path, public_key: Path, release_id: str | None) -> None:
    """Prove a release, line by line. Needs no ledger, no settings and no network."""
    for line in prove_release(folder, public_key, release_id):
        click.echo(line)
    click.echo("The release is whole.")


def prove_release(
    folder: Path, public_key: Path, release_id: str | None, hash_file: HashFile = fingerprint_file
) -> Iterator[str]:
    """A line for each thing that holds. Raises ReleaseError, SettingsError or SignatureError at the first that does not."""
    key = release_key_fingerprint(public_key)
    files = release_files(folder, hash_file)
    require_release_signature(folder, folder.name, public_key, files)
    yield f"signature: {len(files) - 1} files, by the key {key}; nothing was changed, removed or added"
    release = read_release(folder)
    if release_id is not None and release.release_id != release_id:
        raise ReleaseError(f"This is release {release.release_id}, and not {release_id}.")
    verify_release(folder, release.release_id, files=files)
    yield f"release {release.release_id}: the fingerprint of {MANIFEST}, which names every file with its hash"
    yield _model(release)
    yield from _contents(release)
    yield from _verdict(release)
    yield _hops(release)


def _model(release: ReleaseFolder) -> str:
    wanted = release.manifest.get("served_fingerprint")
    if not wanted or release.model_fingerprint != wanted:
        raise ReleaseError(f"Release {release.release_id}: its model is not the one whose parity was measured.")
    return f"model: {release.model.name} for {release.engine}, {wanted}"


def _contents(release: ReleaseFolder) -> Iterator[str]:
    there = release.manifest["files"]
    for what, name in HOLDS.items():
        if name not in there:
            raise ReleaseError(f"Release {release.release_id} has no {what} ({name}).")
        yield f"{what}: {name}"
    stored = json.loads((release.folder / HOLDS["manifest of the instruction set"]).read_text(encoding="utf-8"))
    if stored.get("fingerprint") != release.manifest["instruction_set_fingerprint"]:
        raise ReleaseError(f"Release {release.release_id} holds the manifest of another instruction set.")


def _hops(release: ReleaseFolder) -> str:
    """Each step from the judged adapter to the served model was measured, and kept within its limits."""
    manifest = release.manifest
    try:
        parity = json.loads((release.folder / HOLDS["parity"]).read_text(encoding="utf-8"))
        why = missing_proof(parity, manifest["adapter_id"], manifest["served_fingerprint"])
        forms = [str(hop["to"]) for hop in parity["hops"]]
    except (ValueError, LookupError, TypeError) as error:
        raise ReleaseError(f"Release {release.release_id}: {HOLDS['parity']} can't be read.") from error
    if why:
        raise ReleaseError(f"Release {release.release_id}: its parity is not proven, since {why}.")
    return f"hops: adapter to {' to '.join(forms)}, each within its limits and each from where the one before ended"


def _verdict(release: ReleaseFolder) -> Iterator[str]:
    """The document is signed by a pair of its own, whose public half the release carries and signs."""
    proven = prove(release.folder / VERDICT_DOCUMENT, release.folder / VERDICT_KEY)
    verdict, manifest = proven.verdict, release.manifest
    other = [name for name in _BOUND if getattr(verdict, name) != manifest.get(name)]
    if other:
        raise ReleaseError(
            f"Release {release.release_id} holds the verdict on something else: {', '.join(other)} differ."
        )
    yield f"verdict {verdict.verdict_id}: signed by the key {proven.key_fingerprint}, about exactly this release"
    yield f"decision: {_decision(verdict, manifest.get('verdict_signers', []), release.release_id)}"


def _decision(verdict: Verdict, signers: list[str], release_id: str) -> str:
    if not lets_through(verdict, signers):
        raise ReleaseError(f"Release {release_id} rests on the verdict {verdict.decision}, which nobody signed.")
    return "promote" if verdict.decision == "promote" else f"hold, signed by {', '.join(signers)}"
