"""Stage 6, before a GPU is used: whether the engine that the recipe trains with is installed.

Belongs here: the check. Must stay out: what an environment needs (see `training/environments.py`).
"""

import dagster as dg

from fine_tune_assets.core.errors import GateClosedError
from fine_tune_assets.defs.metadata import WHY
from fine_tune_assets.defs.resources import Installation
from fine_tune_assets.training.engines import library_versions
from fine_tune_assets.training.environments import installed_versions, require_environment


@dg.asset_check(
    asset="training_preflights",
    blocking=True,
    description="The library that the recipe trains with is installed: TRL, or Unsloth in its own environment.",
)
def training_engine_is_there(installation: Installation) -> dg.AssetCheckResult:
    engine, unsloth = installation.recipe.training.engine, installation.settings.unsloth_interpreter
    try:
        require_environment(engine, unsloth, bool(installation.settings.ray.address))
    except GateClosedError as error:
        return dg.AssetCheckResult(passed=False, metadata={"engine": engine, WHY: str(error)})
    versions = library_versions(engine) if engine == "trl" else installed_versions(unsloth)
    return dg.AssetCheckResult(passed=True, metadata={"engine": engine, "libraries": dg.MetadataValue.json(versions)})
