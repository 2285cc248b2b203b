"""Detects changes of the external sources: labelled files, model files, and records in the ledger.

Reports each change as a materialization of the external asset, with a hash of its content as data version.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import yaml

from fine_tune_assets.core.errors import FineTuneError, ModelFolderError, RecipeError
from fine_tune_assets.core.fingerprints import combine, fingerprint_file, fingerprint_folder, fingerprint_listing
from fine_tune_assets.core.strict_parsing import load_texts
from fine_tune_assets.defs.platform.asset_keys import asset_key, asset_name
from fine_tune_assets.defs.platform.automation import DATA_VERSION, latest_events
from fine_tune_assets.defs.platform.kept_instance import kept_instance
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s01_raw_reports.erased_subjects import report_erasures, report_production_erasures
from fine_tune_assets.defs.s02_scrubbed_reports.rescrub_requests import report_rescrub_requests
from fine_tune_assets.defs.s04_approved_examples.current_decisions import report_production_approvals
from fine_tune_assets.defs.s04_approved_examples.drafting_models import drafting_model_version
from fine_tune_assets.defs.s04_approved_examples.incoming_corrections import report_incoming_corrections
from fine_tune_assets.defs.source_state import read_source_state
from fine_tune_assets.judging.judges.own_domain import needs_own_ratings
from fine_tune_assets.ledger.reviews.correction_records import corrections_fingerprint
from fine_tune_assets.ledger.reviews.decision_records import decisions_fingerprint
from fine_tune_assets.ledger.reviews.identifier_marks import marks_fingerprint
from fine_tune_assets.ledger.reviews.quarantine_decisions import quarantine_decisions_fingerprint
from fine_tune_assets.ledger.reviews.spot_check_ratings import list_spot_checks, spot_checks_fingerprint
from fine_tune_assets.ledger.serving.request_features import windows_fingerprint
from fine_tune_assets.ledger.serving.verdicts import signatures_fingerprint
from fine_tune_assets.phi.scrubber import scrubber_version
from fine_tune_assets.retrieval.documents import UnreadableDocumentError
from fine_tune_assets.retrieval.knowledge_reader import QUERY_SUFFIX
from fine_tune_assets.retrieval.retrieval_quality import OWN_QUESTIONS
from fine_tune_assets.retrieval.sql_queries import parse_refresh_minutes
from fine_tune_assets.training.base_models.registration import bundled_gguf

_NO_CHANGE = "No source changed."


def _folder_version(path: Path) -> str:
    if not path.is_dir():
        raise FineTuneError(f"The folder {path} does not exist.")
    return fingerprint_folder(path)


def _labelled_set_versions(installation: Installation) -> list[str]:
    """A version per folder that the domain pack names. A missing folder is a version too: then the scrubber is not measured."""
    folders = [installation.path(name) for name in installation.pack.pack.labelled_sets]
    return [fingerprint_folder(folder) if folder.is_dir() else "none" for folder in folders]


def _base_model_version(installation: Installation) -> str:
    """A missing folder counts as a version too, so that `base_models` runs and reports the error."""
    folder = installation.recipe.base_model.folder
    try:
        return fingerprint_listing(installation.path(folder) if folder else bundled_gguf())
    except (OSError, ModelFolderError) as error:
        return type(error).__name__


def knowledge_version(installation: Installation, now: datetime | None = None) -> str:
    """Version of file names, contents and the time slot of each query. Raises OSError.

    A database does not announce changes, so its rows are read again after the refresh interval in the query file.
    """
    folder = installation.layout.knowledge
    if not folder.is_dir():
        return "none"
    at = now or datetime.now(UTC)
    slots = [_refresh_slot(path, at) for path in sorted(folder.rglob(f"*{QUERY_SUFFIX}"))]
    return combine([fingerprint_folder(folder), *slots])


def _question_version(installation: Installation) -> str:
    folder = installation.layout.evaluation
    own = folder / "retrieval" / OWN_QUESTIONS
    return combine([fingerprint_file(folder / "abilities" / "pubmed_qa.jsonl"), _file_version(own)])


def _refresh_slot(path: Path, at: datetime) -> str:
    try:
        query = load_texts(path.read_text(encoding="utf-8"))
        return str(int(at.timestamp() // (60 * parse_refresh_minutes(query if isinstance(query, dict) else {}))))
    # The error becomes a row of unreadable_documents.
    except (ValueError, yaml.YAMLError, UnreadableDocumentError):
        return "unreadable"


def _file_version(path: Path) -> str:
    return fingerprint_file(path) if path.is_file() else "none"


def _needs_own_ratings(installation: Installation) -> bool:
    """False while the recipe can't be read, which must not hold up new ratings."""
    try:
        return needs_own_ratings(installation.recipe)
    except RecipeError:
        return False


def _rating_version(installation: Installation) -> str:
    """Version of the labelled sets, of the desk's ratings and, if there are any, of the answers that were rated.

    The answers are stored in judge_scores only; when they change, the judge must be measured again on those that remain. In a
    domain without shipped ratings, it is also measured on the test examples of these answers.
    """
    versions = [_folder_version(installation.layout.evaluation / "judge")]
    with installation.ledger() as ledger:
        versions.append(spot_checks_fingerprint(ledger))
        if list_spot_checks(ledger) or _needs_own_ratings(installation):
            versions.append(_file_version(installation.stored("judge_scores").path))
    return combine(versions)


def _window_version(installation: Installation) -> str | None:
    """Changes when a window ends. None before the first window has ended; then nothing is reported."""
    with installation.ledger() as ledger:
        return windows_fingerprint(ledger, datetime.now(UTC))


def _source_versions(installation: Installation) -> Mapping[str, Callable[[], str | None]]:
    layout = installation.layout

    def of_ledger(fingerprint: Callable[..., str]) -> Callable[[], str]:
        def read() -> str:
            with installation.ledger() as ledger:
                return fingerprint(ledger)

        return read

    return {
        # Without the content, which may be 100 GB. base_models reads all of it when the listing changes.
        "base_model_files": lambda: _base_model_version(installation),
        # With the scrubber's version, since a new scrubber must be measured on the same texts.
        "labelled_reports": lambda: combine(
            [*_labelled_set_versions(installation), scrubber_version(installation.recipe.scrubber)]
        ),
        "general_files": lambda: _folder_version(layout.general_data),
        "ability_questions": lambda: _folder_version(layout.evaluation / "abilities"),
        "judged_answers": lambda: _folder_version(layout.evaluation / "judge"),
        "knowledge": lambda: knowledge_version(installation),
        "labelled_questions": lambda: _question_version(installation),
        "drafting_models": lambda: drafting_model_version(installation),
        "expert_decisions": of_ledger(decisions_fingerprint),
        "verdict_signatures": of_ledger(signatures_fingerprint),
        "expert_ratings": partial(_rating_version, installation),
        "corrections": of_ledger(corrections_fingerprint),
        "quarantine_decisions": of_ledger(quarantine_decisions_fingerprint),
        "request_features": partial(_window_version, installation),
        "missed_identifiers": of_ledger(marks_fingerprint),
    }


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Detects changes of the base model and labelled files, and new records in the ledger.",
)
def source_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    return report_if_changed(
        kept_instance(context), Installation(), lambda message: context.log.error(message), datetime.now(UTC)
    )


_unchanged: dict[str, Any] = {}
"""Data folder → the state of the sources at the last tick that had nothing to report."""


def report_if_changed(
    instance: dg.DagsterInstance, installation: Installation, on_error: Callable[[str], None], now: datetime
) -> dg.SensorResult | dg.SkipReason:
    """As `report_sources` (130 ms of CPU), if the sources may have changed since the last call had nothing to report."""
    name = str(installation.layout.data_dir)
    # Before the sources are read, so that a change meanwhile is seen at the next tick.
    state = read_source_state(instance, installation, now)
    if state is not None and state == _unchanged.get(name):
        return dg.SkipReason(_NO_CHANGE)
    _unchanged.pop(name, None)
    found = report_sources(instance, installation, on_error)
    if isinstance(found, dg.SkipReason) and found.skip_message == _NO_CHANGE and state is not None:
        _unchanged[name] = state
    return found


def report_sources(
    instance: dg.DagsterInstance, installation: Installation, on_error: Callable[[str], None]
) -> dg.SensorResult | dg.SkipReason:
    """Report each source whose content changed. Unreadable sources are passed to `on_error` and don't affect the others."""
    events: list[dg.AssetMaterialization | dg.AssetCheckEvaluation] = []
    unreadable: dict[str, list[str]] = {}
    versions = {asset_key(name): read for name, read in _source_versions(installation).items()}
    known_sources = latest_events(instance, versions)  # one query for all costs as much as one for each

    def try_to(report: Callable[[], None], name: str) -> None:
        try:
            report()
        except (FineTuneError, OSError) as error:
            reason = str(error) if isinstance(error, FineTuneError) else type(error).__name__
            unreadable.setdefault(reason, []).append(name)

    def report_one(key: dg.AssetKey, version_of: Callable[[], str | None]) -> None:
        version, known = version_of(), known_sources[key]
        if version is not None and (known is None or known.version != version):
            events.append(dg.AssetMaterialization(key, tags={DATA_VERSION: version}))

    for key, version_of in versions.items():
        try_to(partial(report_one, key, version_of), asset_name(key))
    try_to(lambda: events.extend(report_erasures(instance, installation)), "erased_subjects")
    try_to(
        lambda: events.extend(report_production_erasures(instance, installation)),
        "erased subjects of the production model",
    )
    try_to(
        lambda: events.extend(report_production_approvals(instance, installation)), "approvals of the production model"
    )
    try_to(lambda: events.extend(report_rescrub_requests(instance, installation)), "rescrub_requests")
    try_to(lambda: events.extend(report_incoming_corrections(instance)), "incoming_corrections")
    messages = [f"{', '.join(names)} can't be read. {reason}" for reason, names in unreadable.items()]
    for message in messages:
        on_error(message)
    if events:
        return dg.SensorResult(asset_events=events)
    return dg.SkipReason(" ".join(messages) or _NO_CHANGE)
