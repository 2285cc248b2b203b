"""Stage 9: requests the deployment of a release and waits for the switch. The supervisor starts engines and runs canaries."""

from datetime import timedelta

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.releases.release_folders import read_release
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, grows_old, table_result
from fine_tune_assets.defs.platform.recipe_versions import code_version
from fine_tune_assets.defs.platform.resources import Installation, tracked_progress, user_facing_errors
from fine_tune_assets.defs.s04_approved_examples.current_decisions import require_still_approved
from fine_tune_assets.defs.s06_adapters.adapters import after_training
from fine_tune_assets.instructions.stored_sets import read_instruction_set
from fine_tune_assets.ledger.serving.deployments import find_live_deployment
from fine_tune_assets.ledger.serving.rollbacks import find_rollback_target
from fine_tune_assets.serving.canary_releases import build_canary_plan, describe_canary
from fine_tune_assets.serving.engine_start import running_program
from fine_tune_assets.serving.orphaned_engines import ENGINES_FOLDER
from fine_tune_assets.serving.release_probes import result_from_json
from fine_tune_assets.serving.rollout import (
    START_SECONDS,
    current_retention,
    deploy_release,
    describe_retention,
    describe_rollback,
)
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.serving_rows import ServedModel

GROUP = "s09_served_models"


@dg.asset(
    group_name=GROUP,
    code_version=code_version("engine"),
    automation_condition=after_training(),
    description="The production model and its endpoint. The previous release answers until the new one is ready and has passed "
    "its canary release, if one is configured.",
    owners=OWNERS["ops"],
    kinds={"fastapi"},
    freshness_policy=grows_old(warn_days=60, fail_days=180),
    metadata=definition_metadata("served_models"),
)
def served_models(
    context: dg.AssetExecutionContext, installation: Installation, releases: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    wanted, settings = releases.to_pylist()[0], installation.settings
    release_id = wanted["release_id"]

    def read_retention() -> timedelta | None:
        retention = current_retention(settings)
        context.log.info(describe_retention(retention, settings.rollback.keep_previous_minutes))
        return retention

    with user_facing_errors(), installation.ledger() as ledger, tracked_progress(context) as report_progress:
        live = find_live_deployment(ledger)
        if live is None or live.release_id != release_id:  # a lapsed approval does not stop the production model
            root = installation.layout.instruction_sets
            require_still_approved(installation, read_instruction_set(root, wanted["instruction_set_fingerprint"]))
        deployment = deploy_release(
            ledger,
            release_id,
            timeout_seconds=START_SECONDS,
            retention=read_retention,
            canary=build_canary_plan(settings),
            progress=report_progress,
        )
        canary = describe_canary(ledger, deployment.deployment_id, release_id)
        rollback = describe_rollback(find_rollback_target(ledger))
        engine = read_release(installation.path(wanted["folder"])).engine
        program = running_program(
            settings.layout.run / ENGINES_FOLDER / deployment.deployment_id, engine, settings
        ).description
    findings = result_from_json(deployment.probes)
    endpoint = f"{settings.gateway_address}/v1"
    row = {
        "release_id": release_id,
        "line": wanted["line"],
        "colour": deployment.colour,
        "engine": engine,
        "endpoint": endpoint,
    }
    # The data version is the release alone: the colour does not change the served model.
    return table_result(
        "served_models",
        table_from_rows([row], ServedModel.SCHEMA),
        release_id,
        endpoint=dg.MetadataValue.url(endpoint),
        colour=deployment.colour,
        program=program,
        probes=findings.summary if findings is not None else "not probed",
        matching_prompts=None if findings is None else findings.matching_prompts,
        matching_answers=None if findings is None else findings.matching_answers,
        canary=canary or "not configured",
        rollback=rollback,
    )
