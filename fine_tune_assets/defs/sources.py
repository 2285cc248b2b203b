"""What comes from outside of the graph: the recipe, labelled files, and what people and services wrote into the ledger.

Belongs here: noticing that a source's content changed, and reporting it as a materialization with that content's hash.
Must stay out: reading the content.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import dagster as dg
import yaml

from fine_tune_assets.core.errors import FineTuneError, ModelFolderError
from fine_tune_assets.core.fingerprints import combine, fingerprint_file, fingerprint_folder, fingerprint_listing
from fine_tune_assets.core.strict_parsing import load_texts
from fine_tune_assets.defs.platform.automation import DATA_VERSION, latest_events
from fine_tune_assets.defs.platform.prompt_files import prompt_files
from fine_tune_assets.defs.platform.recipe_sections import SECTIONS
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.erased_patients import batches_to_read_again, news_of_live_release
from fine_tune_assets.defs.s02_scrubbed_reports.missed_identifiers import changed_batches
from fine_tune_assets.defs.s02_scrubbed_reports.taken_surrogates import batches_to_choose_again
from fine_tune_assets.defs.s04_approved_examples.drafting_models import drafting_model_version
from fine_tune_assets.defs.s04_approved_examples.standing_decisions import news_of_decisions
from fine_tune_assets.ledger.reviews.corrections import corrections_fingerprint
from fine_tune_assets.ledger.reviews.missed_identifiers import marks_fingerprint
from fine_tune_assets.ledger.reviews.quarantine import quarantine_decisions_fingerprint
from fine_tune_assets.ledger.reviews.reviews import decisions_fingerprint
from fine_tune_assets.ledger.reviews.spot_checks import list_spot_checks, spot_checks_fingerprint
from fine_tune_assets.ledger.serving.request_features import windows_fingerprint
from fine_tune_assets.ledger.serving.verdicts import signatures_fingerprint
from fine_tune_assets.phi.scrubbing import scrubber_version
from fine_tune_assets.recipes.sections import section_fingerprints
from fine_tune_assets.retrieval.documents import UnreadableDocumentError
from fine_tune_assets.retrieval.knowledge_reader import QUERY
from fine_tune_assets.retrieval.queries import refresh_minutes
from fine_tune_assets.retrieval.retrieval_quality import OWN_QUESTIONS
from fine_tune_assets.training.base_models.registry import bundled_gguf


def _folder(path: Path) -> str:
    if not path.is_dir():
        raise FineTuneError(f"There is no folder {path.name}.")
    return fingerprint_folder(path)


def _base_model_listing(installation: Installation) -> str:
    """A folder that is not there is a version too: base_models then runs, and says what is wrong."""
    folder = installation.recipe.base_model.folder
    try:
        return fingerprint_listing(installation.path(folder) if folder else bundled_gguf())
    except (OSError, ModelFolderError) as error:
        return type(error).__name__


def knowledge_version(installation: Installation, now: datetime | None = None) -> str:
    """Of names and contents, and of the time slot of each query: a database tells nobody of a change, so its rows are read again
    when they are as old as the query's file lets them be. Raises OSError."""
    folder = installation.layout.knowledge
    if not folder.is_dir():
        return "none"
    at = now or datetime.now(UTC)
    slots = [_slot(path, at) for path in sorted(folder.rglob(f"*{QUERY}"))]
    return combine([fingerprint_folder(folder), *slots])


def _labelled_questions(installation: Installation) -> str:
    folder = installation.layout.evaluation
    own = folder / "retrieval" / OWN_QUESTIONS
    return combine([fingerprint_file(folder / "abilities" / "pubmed_qa.jsonl"), _optional_file(own)])


def _slot(path: Path, at: datetime) -> str:
    try:
        said = load_texts(path.read_text(encoding="utf-8"))
        return str(int(at.timestamp() // (60 * refresh_minutes(said if isinstance(said, dict) else {}))))
    # Whatever is wrong with it becomes a row of unreadable_documents.
    except (ValueError, yaml.YAMLError, UnreadableDocumentError):
        return "unreadable"


def _optional_file(path: Path) -> str:
    return fingerprint_file(path) if path.is_file() else "none"


def _expert_ratings(installation: Installation) -> str:
    """Of the ratings, and once there are any, of the answers that they are about: their texts are in judge_scores alone, and a
    judge must be measured again on what is left of them."""
    with installation.ledger() as ledger:
        ratings = spot_checks_fingerprint(ledger)
        if not list_spot_checks(ledger):
            return ratings
    return combine([ratings, _optional_file(installation.stored("judge_scores").path)])


def _request_windows(installation: Installation) -> str | None:
    """Moves when a window ends. None, and nothing is reported, before the first one did."""
    with installation.ledger() as ledger:
        return windows_fingerprint(ledger, datetime.now(UTC))


def _versions(installation: Installation) -> Mapping[str, Callable[[], str | None]]:
    layout = installation.layout

    def of_ledger(fingerprint: Callable[..., str]) -> Callable[[], str]:
        def read() -> str:
            with installation.ledger() as ledger:
                return fingerprint(ledger)

        return read

    @cache
    def sections() -> dict[str, str]:
        return section_fingerprints(installation.recipe)

    def of_recipe(section: str) -> str:
        return sections()[section]

    return {
        **{f"recipe/{name}": partial(of_recipe, name) for name in SECTIONS},
        # A set's manifest names the tokenizer and chat template that it is meant for.
        "recipe/instructions": lambda: combine(
            [of_recipe("instructions"), *map(str, prompt_files(installation).values())]
        ),
        # Not its content: that may be 100 GB. base_models reads it whole once anything here moved.
        "base_model_files": lambda: _base_model_listing(installation),
        # With the scrubber's version: another scrubber on the same texts has to be measured again.
        "labelled_reports": lambda: combine(
            [_folder(layout.evaluation / "phi"), scrubber_version(installation.recipe.scrub)]
        ),
        "tagger_corpora": lambda: _folder(layout.tagger_training) if layout.tagger_training.is_dir() else "none",
        "general_files": lambda: _folder(layout.general),
        "rated_answers": lambda: _folder(layout.evaluation / "judge"),
        "ability_questions": lambda: _folder(layout.evaluation / "abilities"),
        "knowledge": lambda: knowledge_version(installation),
        "labelled_questions": lambda: _labelled_questions(installation),
        "drafting_models": lambda: drafting_model_version(installation),
        "expert_decisions": of_ledger(decisions_fingerprint),
        "verdict_signatures": of_ledger(signatures_fingerprint),
        "expert_ratings": partial(_expert_ratings, installation),
        "corrections": of_ledger(corrections_fingerprint),
        "quarantine_decisions": of_ledger(quarantine_decisions_fingerprint),
        "request_features": partial(_request_windows, installation),
        "missed_identifiers": of_ledger(marks_fingerprint),
    }


@dg.sensor(
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Notices a changed recipe or base model, changed labelled files, and new words of people in the ledger.",
)
def sources_changed(context: dg.SensorEvaluationContext, installation: Installation) -> dg.SensorResult | dg.SkipReason:
    return report_sources(context.instance, installation, context.log.error)


def report_sources(
    instance: dg.DagsterInstance, installation: Installation, tell: Callable[[str], None]
) -> dg.SensorResult | dg.SkipReason:
    """Report each source whose content is not the one last reported. `tell` is told what can't be read; others go on."""
    events: list[dg.AssetMaterialization | dg.AssetCheckEvaluation] = []
    unreadable: dict[str, list[str]] = {}
    versions = {dg.AssetKey.from_user_string(name): read for name, read in _versions(installation).items()}
    known_sources = latest_events(instance, versions)  # in one query: each costs as much as all

    def try_to(report: Callable[[], None], name: str) -> None:
        try:
            report()
        except (FineTuneError, OSError) as error:
            why = str(error) if isinstance(error, FineTuneError) else type(error).__name__
            unreadable.setdefault(why, []).append(name)

    def report_one(key: dg.AssetKey, version_of: Callable[[], str | None]) -> None:
        version, known = version_of(), known_sources[key]
        if version is not None and (known is None or known.version != version):
            events.append(dg.AssetMaterialization(key, tags={DATA_VERSION: version}))

    for key, version_of in versions.items():
        try_to(partial(report_one, key, version_of), key.to_user_string())
    try_to(lambda: events.extend(batches_to_read_again(instance, installation)), "erased_patients")
    try_to(lambda: events.extend(news_of_live_release(instance, installation)), "erased_patients of the live release")
    try_to(lambda: events.extend(news_of_decisions(instance, installation)), "decisions behind the live release")
    try_to(lambda: events.extend(changed_batches(instance, installation)), "missed_terms")
    try_to(lambda: events.extend(batches_to_choose_again(instance, installation)), "taken_surrogates")
    faults = [f"{', '.join(names)} can't be read. {why}" for why, names in unreadable.items()]
    for fault in faults:
        tell(fault)
    if events:
        return dg.SensorResult(asset_events=events)
    return dg.SkipReason(" ".join(faults) or "No source changed.")
