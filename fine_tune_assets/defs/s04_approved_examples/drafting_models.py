"""Stage 4: the model that writes drafts and the verifier that checks them, and the external asset that changes with them."""

from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from fine_tune_assets.approval.draft_generation import LiveEngine
from fine_tune_assets.core.releases.release_folders import read_release
from fine_tune_assets.defs.platform.metadata import OWNERS
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.judging.evaluation.draft_support import describe_check, find_verifier_failure
from fine_tune_assets.judging.judges.verifier.verifier_files import SHIPPED_FOLDER
from fine_tune_assets.ledger.serving.deployments import find_live_deployment, open_engine_key
from fine_tune_assets.ledger.serving.release_records import find_release
from fine_tune_assets.recipes.schema import ModelTask

NO_MODEL = "none"
NOT_NEEDED = "no task asks for one"
NO_VERIFIER = "no usable verifier"

drafting_models = dg.AssetSpec(
    "drafting_models",
    group_name="s04_approved_examples",
    description="The model that writes drafts for tasks of the kind `model` (the production model, or else the base model), "
    "and the verifier that checks them.",
    owners=OWNERS["ml"],
    kinds={"llm"},
)


@dataclass(frozen=True)
class DraftingBaseModel:
    folder: Path
    fingerprint: str


def find_drafting_model(installation: Installation) -> LiveEngine | DraftingBaseModel | None:
    """The engine of the production model, or else the imported base model; None if there is neither."""
    with installation.ledger() as ledger:
        live = find_live_deployment(ledger)
        release = None if live is None else find_release(ledger, live.release_id)
    if live is not None and live.engine_url is not None and release is not None:
        prompt_settings = read_release(installation.layout.data_dir / release.folder).prompt_settings
        api_key = open_engine_key(ledger.key, live.deployment_id, live.engine_key)
        return LiveEngine(live.engine_url, prompt_settings, release.release_id, api_key)
    imported = installation.stored("base_models").rows(("folder", "fingerprint"))
    return DraftingBaseModel(installation.path(imported[0]["folder"]), imported[0]["fingerprint"]) if imported else None


def drafting_model_version(installation: Installation) -> str:
    """Changes with the model and the verifier. Written drafts are kept, so that a release does not withdraw approved drafts."""
    if not any(isinstance(task, ModelTask) for task in installation.recipe.tasks):
        return NOT_NEEDED
    found, folder = find_drafting_model(installation), verifier_folder(installation)
    if found is None:
        return NO_MODEL
    verifier = (
        describe_check(folder, installation.pack.pack.checks) if find_verifier_failure(folder) is None else NO_VERIFIER
    )
    return f"{found.release_id if isinstance(found, LiveEngine) else found.fingerprint}, {verifier}"


def verifier_folder(installation: Installation) -> Path:
    """The recipe's verifier, or the shipped one."""
    own = installation.recipe.judge.verifier
    return installation.layout.data_dir / own if own else SHIPPED_FOLDER
