"""Stage 6: imports and describes the base model. `training/base_models/` checks the folder."""

from typing import Any

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.fingerprints import fingerprint_json
from fine_tune_assets.core.processes.worker_requests import ImportBaseModelRequest
from fine_tune_assets.defs.platform.automation import on_new_inputs
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, markdown_table, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, Worker
from fine_tune_assets.defs.s06_adapters.adapters import GROUP
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.training_rows import BaseModel

base_model_files = dg.AssetSpec(
    "base_model_files",
    group_name="s06_adapters",
    description="The recipe's base model folder, or the bundled file: file names, sizes and modification times.",
    owners=OWNERS["ml"],
    kinds={"file"},
)

_VERSION_FIELDS = (
    "name",
    "fingerprint",
    "architecture",
    "parameter_count",
    "source_fingerprint",
    "licence",
    "chat_template_fingerprint",
)
"""Without the folder, since a moved model is the same model, and without engine support, which changes with engine versions."""


@dg.asset(
    group_name=GROUP,
    deps=[base_model_files],
    code_version=code_version("base_model"),
    automation_condition=on_new_inputs(),
    description="The open-weight model that is fine-tuned: a checked local folder, with its source, hash and licence.",
    owners=OWNERS["ml"],
    kinds={"huggingface"},
    metadata=definition_metadata("base_models"),
)
def base_models(
    context: dg.AssetExecutionContext, installation: Installation, worker: Worker
) -> dg.MaterializeResult[pa.Table]:
    settings = installation.recipe.base_model
    request: ImportBaseModelRequest = {
        "action": "import_base_model",
        "name": settings.name,
        "licence": settings.licence,
        "folder": str(installation.path(settings.folder)) if settings.folder else "",
        "bundled_folder": str(installation.layout.base_models / settings.name),
        "template_kwargs": dict(installation.recipe.prompt.template_kwargs),
    }
    model = worker.run(context, "training", request)
    model["folder"] = installation.stored_path(model["folder"])
    version = fingerprint_json({name: model[name] for name in _VERSION_FIELDS})
    return table_result(
        "base_models",
        table_from_rows([model], BaseModel.SCHEMA),
        version,
        parameter_count=model["parameter_count"],
        facts=markdown_table(_fact_rows(model)),
        engine_support=markdown_table(model["engine_support"]),
    )


def _fact_rows(model: dict[str, Any]) -> list[dict[str, Any]]:
    shown = {name: value for name, value in model.items() if name not in ("engine_support", "folder")}
    return [
        {"fact": name.replace("_", " "), "value": " ".join(value) if isinstance(value, list) else value}
        for name, value in shown.items()
    ]
