"""What comes from outside of the graph: the recipe, labelled files, and what people and services wrote into the ledger.

Belongs here: noticing that a source's content changed, and reporting it as a materialization with that content's hash.
Must stay out: reading the content.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import combine, fingerprint_folder
from fine_tune_assets.defs.automation import DATA_VERSION, latest_event
from fine_tune_assets.defs.metadata import OWNERS
from fine_tune_assets.defs.resources import Installation
from fine_tune_assets.ledger.corrections import corrections_fingerprint
from fine_tune_assets.ledger.reviews import decisions_fingerprint
from fine_tune_assets.phi.scrubbing import scrubber_version
from fine_tune_assets.recipes.loading import recipe_fingerprint

recipe = dg.AssetSpec(
    "recipe",
    group_name="s01_raw_reports",
    description="The recipe of this product line: tasks, system prompt, training settings, thresholds of the gate.",
    owners=OWNERS["ml"],
    kinds={"yaml"},
)


def _folder(path: Path) -> str:
    if not path.is_dir():
        raise FineTuneError(f"There is no folder {path.name}.")
    return fingerprint_folder(path)


def _versions(installation: Installation) -> Mapping[str, Callable[[], str]]:
    layout = installation.layout

    def of_ledger(fingerprint: Callable[..., str]) -> Callable[[], str]:
        def read() -> str:
            with installation.ledger() as ledger:
                return fingerprint(ledger)

        return read

    return {
        "recipe": lambda: recipe_fingerprint(installation.recipe),
        # With the scrubber's version: another scrubber on the same texts has to be measured again.
        "labelled_reports": lambda: combine(
            [_folder(layout.evaluation / "phi"), scrubber_version(installation.recipe.scrub)]
        ),
        "general_files": lambda: _folder(layout.general),
        "rated_answers": lambda: _folder(layout.evaluation / "judge"),
        "ability_questions": lambda: _folder(layout.evaluation / "abilities"),
        "expert_decisions": of_ledger(decisions_fingerprint),
        "corrections": of_ledger(corrections_fingerprint),
    }


@dg.sensor(
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notices a changed recipe, changed labelled files, new expert decisions and new corrections.",
)
def sources_changed(context: dg.SensorEvaluationContext, installation: Installation) -> dg.SensorResult | dg.SkipReason:
    return report_sources(context.instance, installation)


def report_sources(instance: dg.DagsterInstance, installation: Installation) -> dg.SensorResult | dg.SkipReason:
    """Report each source whose content is not the one last reported. One that can't be read is named, others go on."""
    events, failed = [], []
    for name, version_of in _versions(installation).items():
        try:
            version = version_of()
        except (FineTuneError, OSError) as error:
            failed.append(f"{name} ({type(error).__name__})")
            continue
        known = latest_event(instance, dg.AssetKey(name))
        if known is None or known.version != version:
            events.append(dg.AssetMaterialization(name, tags={DATA_VERSION: version}))
    if events:
        return dg.SensorResult(asset_events=events)
    return dg.SkipReason(f"Can't be read: {', '.join(failed)}." if failed else "No source changed.")
