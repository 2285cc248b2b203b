"""Stage 2, for those who want a tagger of their own: trained on their labelled reports beside ours.

Belongs here: training one by hand, and whether it is better. Must stay out: how it is trained (see `phi/tagger/`).
"""

from dataclasses import asdict
from pathlib import Path

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, result, warned
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.tables.phi import PhiTagger
from fine_tune_assets.tables.records import table_of

GROUP = "s02_scrubbed_reports"

tagger_corpora = dg.AssetSpec(
    "tagger_corpora",
    group_name=GROUP,
    description="Labelled reports and clinical prose that a tagger learns from (`data/tagger_training`).",
    owners=OWNERS["clinical"],
    kinds={"json"},
)


# Without a condition: it takes a quarter of an hour and changes nothing until a recipe names its folder.
@dg.asset(
    group_name=GROUP,
    deps=[tagger_corpora, recipe_section("tagger")],
    description="A tagger trained here, beside the one that comes with the package and spaCy's. Made by hand only.",
    owners=OWNERS["ml"],
    kinds={"onnx"},
    metadata=definition_metadata("phi_taggers"),
)
def phi_taggers(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker
) -> dg.MaterializeResult[pa.Table]:
    layout, recipe = installation.layout, installation.recipe
    request = {
        "action": "train_tagger",
        "corpora": str(layout.tagger_training),
        "taggers": str(layout.taggers),
        "tagger": asdict(recipe.tagger),
        "settings": asdict(recipe.scrub),
        "gold": [str(path) for path in sorted((layout.evaluation / "phi").glob("*.jsonl"))],
    }
    made = worker.run(context, "phi", request)
    folder = Path(made["folder"])
    rows = [
        {"tagger_id": folder.name, "folder": installation.stored_path(str(folder)), **row} for row in made["compared"]
    ]
    return result("phi_taggers", table_of(rows, PhiTagger.SCHEMA), fingerprint_json(folder.name), folder=str(folder))


@dg.asset_check(
    asset="phi_taggers",
    description="The tagger that was trained removes more identifiers and fewer other words than spaCy's model, and is faster.",
)
def tagger_beats_spacy(phi_taggers: pa.Table) -> dg.AssetCheckResult:
    rows = phi_taggers.to_pylist()
    own, spacy = rows[0], rows[-1]
    better = {
        "recall": own["recall"] > spacy["recall"],
        "other_tokens_masked": own["other_tokens_masked"] < spacy["other_tokens_masked"],
        "documents_per_second": own["documents_per_second"] > spacy["documents_per_second"],
    }
    return warned(all(better.values()), better=dg.MetadataValue.json(better))
