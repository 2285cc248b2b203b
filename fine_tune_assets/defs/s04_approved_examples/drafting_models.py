"""Stage 4: which model would write drafts now.

Belongs here: finding it, and the external asset that tells when there is one at last. Must stay out: what it writes.
"""

from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from fine_tune_assets.approval.model_drafts import LiveEngine
from fine_tune_assets.core.releases.release_folders import read_release
from fine_tune_assets.defs.platform.metadata import OWNERS
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.ledger.serving.deployments import live_deployment, open_engine_key
from fine_tune_assets.ledger.serving.releases import find_release
from fine_tune_assets.recipes.schema import ModelTask

NOBODY = "none"
NOT_ASKED_FOR = "no task asks for one"

drafting_models = dg.AssetSpec(
    "drafting_models",
    group_name="s04_approved_examples",
    description="The model that writes drafts for tasks of the kind `model`: the release that serves, else the base model.",
    owners=OWNERS["ml"],
    kinds={"llm"},
)


@dataclass(frozen=True)
class BaseModel:
    folder: Path
    fingerprint: str


def find_drafting_model(installation: Installation) -> LiveEngine | BaseModel | None:
    """The engine that serves now, else the base model that was imported; None if there is neither yet."""
    with installation.ledger() as ledger:
        live = live_deployment(ledger)
        release = None if live is None else find_release(ledger, live.release_id)
    if live is not None and live.engine_url is not None and release is not None:
        asked_with = read_release(installation.layout.data_dir / release.folder).asked_with
        api_key = open_engine_key(installation.corrections_key, live.deployment_id, live.engine_key)
        return LiveEngine(live.engine_url, asked_with, release.release_id, api_key)
    imported = installation.stored("base_models").rows(("folder", "fingerprint"))
    return BaseModel(installation.path(imported[0]["folder"]), imported[0]["fingerprint"]) if imported else None


def drafting_model_version(installation: Installation) -> str:
    """Changes when there is another model. What was written stays: an approved draft must not be taken back by a release."""
    if not any(isinstance(task, ModelTask) for task in installation.recipe.tasks):
        return NOT_ASKED_FOR
    found = find_drafting_model(installation)
    if found is None:
        return NOBODY
    return found.release_id if isinstance(found, LiveEngine) else found.fingerprint
