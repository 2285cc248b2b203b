"""Whether a source may have changed since the last look: states of files and counts of commits, which cost a thirtieth of reading
the sources."""

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import dagster as dg

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import read_states
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.ledger.commit_counter import CommitCounter
from fine_tune_assets.recipes.domain_packs import locate_pack, shipped_packs
from fine_tune_assets.recipes.loader import shipped_recipes
from fine_tune_assets.training.base_models.registration import bundled_gguf


def read_source_state(instance: dg.DagsterInstance, installation: Installation, now: datetime) -> Any:
    """A value that changes when a file of a source, the ledger or an event of Dagster changes, and once a minute: the time slots
    of queries and windows begin with a minute. None if it can't be read, and with a ledger in PostgreSQL: then read the sources.
    """
    commits = _commit_counter(installation.settings.database_url).read()
    if commits is None:
        return None
    try:
        files = [_read_file_states(path) for path in _list_roots(installation)]
    except (FineTuneError, OSError):
        return None
    return int(now.timestamp() // 60), commits, instance.event_log_storage.get_maximum_record_id(), files


def _list_roots(installation: Installation) -> Iterator[Path]:
    layout, recipe, name = installation.layout, installation.recipe, installation.settings.recipe
    yield shipped_recipes().get(name, Path(name))
    yield shipped_packs().get(recipe.domain) or locate_pack(recipe.domain)
    yield from (installation.path(folder) for folder in installation.pack.pack.labelled_sets)
    yield installation.path(recipe.base_model.folder) if recipe.base_model.folder else bundled_gguf()
    if recipe.judge.verifier:
        yield installation.path(recipe.judge.verifier)
    yield from (layout.general_data, layout.evaluation, layout.knowledge, installation.stored("judge_scores").path)


def _read_file_states(path: Path) -> Any:
    return read_states(path) if path.exists() else None


@lru_cache(maxsize=4)
def _commit_counter(database_url: str) -> CommitCounter:
    return CommitCounter(database_url)
