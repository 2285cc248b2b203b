"""Stage 9: a release in front of users.

Belongs here: asking for a release and switching to it. Must stay out: starting engines and judging trials (the supervisor does).
"""

from datetime import timedelta

import dagster as dg
import pyarrow as pa

from fine_tune_assets.core.releases.release_folders import read_release
from fine_tune_assets.defs.platform.metadata import OWNERS, definition_metadata, result
from fine_tune_assets.defs.platform.recipe_sections import recipe_section
from fine_tune_assets.defs.platform.resources import Installation, errors_for_people, progress_shown
from fine_tune_assets.defs.s04_approved_examples.standing_decisions import require_decisions_stand
from fine_tune_assets.defs.s06_adapters.adapters import behind_training
from fine_tune_assets.instructions.stored_sets import read_instruction_set
from fine_tune_assets.ledger.serving.deployments import live_deployment
from fine_tune_assets.ledger.serving.rollbacks import find_back
from fine_tune_assets.serving.engine_start import program_serving
from fine_tune_assets.serving.left_engines import ENGINES
from fine_tune_assets.serving.release_probes import findings_of
from fine_tune_assets.serving.switch import START_SECONDS, keeping_here, keeping_words, rollback_words, serve_release
from fine_tune_assets.serving.trials import trial_plan, trial_words
from fine_tune_assets.tables.records import table_of
from fine_tune_assets.tables.serving import ServedModel

GROUP = "s09_served_models"


@dg.asset(
    group_name=GROUP,
    deps=["scrubbed_corrections", recipe_section("engine")],
    automation_condition=behind_training(),
    description="The release that answers users now, and where. The old one keeps answering until the new one is ready, and has "
    "passed its trial where the settings ask for one.",
    owners=OWNERS["ops"],
    kinds={"fastapi"},
    metadata=definition_metadata("served_models"),
)
def served_models(
    context: dg.AssetExecutionContext, installation: Installation, releases: pa.Table
) -> dg.MaterializeResult[pa.Table]:
    wanted, settings = releases.to_pylist()[0], installation.settings
    release_id = wanted["release_id"]

    def keep_old() -> timedelta | None:
        kept = keeping_here(settings)
        context.log.info(keeping_words(kept, settings.rollback.keep_old_minutes))
        return kept

    with errors_for_people(), installation.ledger() as ledger, progress_shown(context) as tell:
        live = live_deployment(ledger)
        if live is None or live.release_id != release_id:  # what serves is marked, and not stopped
            root = installation.layout.instruction_sets
            require_decisions_stand(installation, read_instruction_set(root, wanted["instruction_set_fingerprint"]))
        deployment = serve_release(
            ledger,
            release_id,
            timeout_seconds=START_SECONDS,
            keep_old=keep_old,
            trial=trial_plan(settings),
            progress=tell,
        )
        trial = trial_words(ledger, deployment.deployment_id, release_id)
        rollback = rollback_words(find_back(ledger))
        engine = read_release(installation.path(wanted["folder"])).engine
        answers = program_serving(settings.layout.run / ENGINES / deployment.deployment_id, engine, settings).in_words
    findings = findings_of(deployment.probes)
    endpoint = f"{settings.gateway_address}/v1"
    row = {
        "release_id": release_id,
        "line": wanted["line"],
        "colour": deployment.colour,
        "engine": engine,
        "endpoint": endpoint,
    }
    # Which colour it is on is no part of what is served.
    return result(
        "served_models",
        table_of([row], ServedModel.SCHEMA),
        release_id,
        endpoint=dg.MetadataValue.url(endpoint),
        colour=deployment.colour,
        answers=answers,
        probes=findings.in_words if findings is not None else "not probed",
        same_prompts=None if findings is None else findings.same_prompt,
        same_answers=None if findings is None else findings.same_answer,
        trial=trial or "none was asked for",
        rollback=rollback,
    )
