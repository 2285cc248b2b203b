"""Stage 8: merged weights in smaller formats.

Belongs here: exporting behind the verdict in the ledger. Must stay out: how weights are converted (see `merging/`).
"""

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.tables import QUANTIZED_WEIGHTS, table_of
from fine_tune_assets.defs.metadata import OWNERS, definition_metadata, result
from fine_tune_assets.defs.resources import Installation, Worker, errors_for_people
from fine_tune_assets.defs.s06_adapters import GPU, behind_training
from fine_tune_assets.defs.s07_promotion_verdicts import required_verdict
from fine_tune_assets.defs.s08_merged_weights import GROUP, instruction_set_file, kept_contract, require_same_adapter
from fine_tune_assets.defs.sources import recipe_section


@dg.asset(
    group_name=GROUP,
    deps=[recipe_section("exports")],
    pool=GPU,
    automation_condition=behind_training(),
    description="The merged model in smaller formats (GGUF), each measured against the weights it was made from.",
    owners=OWNERS["ml"],
    kinds={"gguf"},
    metadata=definition_metadata("quantized_weights"),
)
def quantized_weights(
    context: dg.AssetExecutionContext,
    installation: Installation,
    worker: Worker,
    merged_weights: pa.Table,
    adapters: pa.Table,
) -> dg.MaterializeResult[pa.Table]:
    merged, adapter, recipe = merged_weights.to_pylist()[0], adapters.to_pylist()[0], installation.recipe
    with errors_for_people():
        require_same_adapter(merged, adapter)
        required_verdict(installation, adapter)
        contract = kept_contract(installation, merged["folder"], adapter)
        request = {
            "action": "export",
            "turn_end_id": contract.turn_end_id,
            "merged_folder": str(installation.path(merged["folder"])),
            "weights_fingerprint": merged["weights_fingerprint"],
            "weights_dir": str(installation.layout.weights),
            "formats": list(recipe.exports),
            "instruction_set": instruction_set_file(installation, adapter),
            "maximum_kl": recipe.gate.maximum_quantized_kl,
        }
    exports = worker.run(context, "merging", request)["exports"]
    rows = [
        {
            "format": export["format"],
            "file": installation.stored_path(export["file"]),
            "fingerprint": export["fingerprint"],
            "weights_fingerprint": merged["weights_fingerprint"],
            "bytes": export["size_bytes"],
            **export["parity"],
        }
        for export in exports
    ]
    table = table_of([{name: row[name] for name in QUANTIZED_WEIGHTS.names} for row in rows], QUANTIZED_WEIGHTS)
    kl = {f"mean_kl_{row['format']}": row["mean_kl"] for row in rows}
    return result("quantized_weights", table, fingerprint_table(table), **kl)
