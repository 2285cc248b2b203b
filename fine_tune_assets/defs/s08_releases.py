"""Stage 8: one content-addressed folder with the model, its prompt and the evidence for it.

Belongs here: what a release is made of, and the gate before it. Must stay out: how its folder is written (see `merging/`).
"""

from dataclasses import asdict
from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.core.fingerprints import short
from fine_tune_assets.core.records import Release, Verdict
from fine_tune_assets.core.releases import MODEL, verify_release
from fine_tune_assets.core.tables import RELEASES, table_of
from fine_tune_assets.defs.metadata import OWNERS, definition_metadata, result
from fine_tune_assets.defs.resources import Installation, errors_for_people
from fine_tune_assets.defs.s06_adapters import behind_training, set_learned_from
from fine_tune_assets.defs.s07_promotion_verdicts import required_verdict
from fine_tune_assets.defs.s08_merged_weights import GROUP, kept_contract, require_same_adapter
from fine_tune_assets.ledger.releases import record_release
from fine_tune_assets.merging.certificate import parity_certificate, require_parity
from fine_tune_assets.merging.releasing import build_release


@dg.asset(
    group_name=GROUP,
    automation_condition=behind_training(),
    description="One folder with the model, its prompt and the evidence for it, named by its content. What is served.",
    owners=OWNERS["ops"],
    kinds={"gguf"},
    metadata=definition_metadata("releases"),
)
def releases(
    installation: Installation,
    merged_weights: pa.Table,
    quantized_weights: pa.Table,
    adapters: pa.Table,
    base_models: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    merged, adapter, base = (t.to_pylist()[0] for t in (merged_weights, adapters, base_models))
    export = quantized_weights.to_pylist()[0]
    with errors_for_people():
        require_same_adapter(merged, adapter)
        if export["weights_fingerprint"] != merged["weights_fingerprint"]:
            raise GateClosedError("The export is of other weights. Materialize quantized_weights again.")
        require_parity(merged)
        require_parity(export)
        verdict = required_verdict(installation, adapter)
        if base["fingerprint"] != adapter["base_fingerprint"]:
            raise GateClosedError("The base model is not the one that the adapter was trained on. Train again.")
        release = _build(installation, merged, export, adapter, base, verdict)
        with installation.ledger() as ledger:
            record_release(ledger, release)
    row = {name: value for name, value in asdict(release).items() if name in RELEASES.names}
    table = table_of([row], RELEASES)
    return result("releases", table, release.release_id, release=release.release_id)


def _build(
    installation: Installation,
    merged: dict[str, Any],
    export: dict[str, Any],
    adapter: dict[str, Any],
    base: dict[str, Any],
    verdict: Verdict,
) -> Release:
    contract = kept_contract(installation, merged["folder"], adapter)
    bound = {
        "verdict_id": verdict.verdict_id,
        "adapter_id": adapter["adapter_id"],
        "base_fingerprint": base["fingerprint"],
        "instruction_set_fingerprint": adapter["instruction_set_fingerprint"],
        "weights_fingerprint": merged["weights_fingerprint"],
        "prompt_fingerprint": contract.fingerprint,
    }
    stored = set_learned_from(installation, adapter)
    folder = build_release(
        installation.layout.releases,
        installation.path(export["file"]),
        contract,
        {
            "verdict.json": verdict.evidence,
            "parity.json": parity_certificate(merged, [export]),
            "instruction_set.json": (stored.folder / "manifest.json").read_text(encoding="utf-8"),
        },
        {
            **bound,
            "format": export["format"],
            "base_model": base["name"],
            "base_licence": base["licence"],
            "merged_mean_kl": merged["mean_kl"],
            "export_mean_kl": export["mean_kl"],
            "verdict_reasons": list(verdict.reasons),
        },
    )
    return Release(release_id=folder.release_id, folder=installation.stored_path(str(folder.folder)), **bound)


@dg.asset_check(
    asset="releases",
    blocking=True,
    additional_ins={"quantized_weights": dg.AssetIn("quantized_weights")},
    description="The release's model file is the export that was measured, byte for byte.",
)
def release_holds_the_measured_weights(
    installation: Installation, releases: pa.Table, quantized_weights: pa.Table
) -> dg.AssetCheckResult:
    row = releases.to_pylist()[0]
    with errors_for_people():
        verified = verify_release(installation.path(row["folder"]), row["release_id"])
    wanted = quantized_weights.to_pylist()[0]["fingerprint"]
    return dg.AssetCheckResult(
        passed=verified.manifest["files"][MODEL] == wanted, metadata={"model": short(verified.manifest["files"][MODEL])}
    )
