"""Stage 6: what the trials of a sweep found.

Belongs here: the table of it. Must stay out: running trials (see s06_sweeps).
"""

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_table
from fine_tune_assets.core.tables import SWEEP_TRIALS, table_of
from fine_tune_assets.defs.automation import on_new_inputs
from fine_tune_assets.defs.metadata import OWNERS, definition_metadata, markdown_table, result
from fine_tune_assets.defs.resources import Installation
from fine_tune_assets.defs.s06_adapters import GROUP
from fine_tune_assets.defs.s06_sweeps import trial_rows
from fine_tune_assets.training.sweeping import read_sweep


@dg.asset(
    group_name=GROUP,
    automation_condition=on_new_inputs(),
    description="Every training of the sweep that the adapter was chosen in: its settings, its loss, or why it failed. Empty "
    "if the recipe has no sweep.",
    owners=OWNERS["ml"],
    kinds={"parquet"},
    metadata=definition_metadata("sweep_trials"),
)
def sweep_trials(installation: Installation, adapters: pa.Table) -> dg.MaterializeResult[pa.Table]:
    adapter = adapters.to_pylist()[0]
    name = adapter["sweep"]
    trials = read_sweep(installation.layout.sweeps, name) if name else []
    rows = [{"sweep": name, **row} for row in trial_rows(trials, adapter["adapter_id"])]
    table = table_of(rows, SWEEP_TRIALS)
    failed = sum(row["state"] == "failed" for row in rows)
    # Seconds differ from run to run; what was found does not.
    version = fingerprint_table(table.drop_columns(["seconds"]))
    return result(
        "sweep_trials",
        table,
        version,
        trials=dg.MetadataValue.md(markdown_table([{k: v for k, v in row.items() if k != "sweep"} for row in rows])),
        failed=failed,
    )
