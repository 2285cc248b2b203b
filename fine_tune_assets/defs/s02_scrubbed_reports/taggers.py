"""Stage 2: trains a custom tagger on the organization's labelled reports, and compares it with the others (`phi/tagger/`)."""

from dataclasses import asdict
from pathlib import Path

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.processes.worker_requests import TrainTaggerRequest
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, table_result, warning_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import PhiTagger

GROUP = "s02_scrubbed_reports"


# Without an automation condition: training takes 15 minutes and has no effect until a recipe names the folder.
@dg.asset(
    group_name=GROUP,
    code_version=code_version("tagger"),
    description="A custom tagger, trained on the labelled reports in `data/tagger_training` and compared with the domain's "
    "bundled tagger and spaCy's. Materialize it by hand.",
    owners=OWNERS["ml"],
    kinds={"onnx"},
    metadata=definition_metadata("phi_taggers"),
)
def phi_taggers(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker
) -> dg.MaterializeResult[pa.Table]:
    layout, recipe = installation.layout, installation.recipe
    request: TrainTaggerRequest = {
        "action": "train_tagger",
        "corpora": str(layout.tagger_training),
        "taggers": str(layout.taggers),
        "tagger": asdict(recipe.tagger),
        "settings": asdict(recipe.scrubber),
        "gold": [str(path) for path in installation.pack.list_labelled_files(layout.data_dir)],
    }
    response = worker.run(context, "phi", request)
    folder = Path(response["folder"])
    rows = [
        {"tagger_id": folder.name, "folder": installation.stored_path(str(folder)), **row}
        for row in response["comparison"]
    ]
    return table_result(
        "phi_taggers", table_from_rows(rows, PhiTagger.SCHEMA), fingerprint_json(folder.name), folder=str(folder)
    )


@dg.asset_check(
    asset="phi_taggers",
    description="The custom tagger removes more identifiers and fewer other words than spaCy's model, and is faster.",
)
def tagger_beats_spacy(phi_taggers: pa.Table) -> dg.AssetCheckResult:
    rows = phi_taggers.to_pylist()
    own, spacy = rows[0], rows[-1]
    better = {
        "recall": own["recall"] > spacy["recall"],
        "non_phi_tokens_masked": own["non_phi_tokens_masked"] < spacy["non_phi_tokens_masked"],
        "documents_per_second": own["documents_per_second"] > spacy["documents_per_second"],
    }
    return warning_result(all(better.values()), better=dg.MetadataValue.json(better))
