"""The code location of a further product line, loaded in a process of its own as its code server does."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.product_lines import create_line
from fine_tune_assets.core.settings import Settings, select_line
from fine_tune_assets.defs.platform.recipe_versions import RECIPE_TAG

_DESCRIBE = """
import json
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.platform.candidate import candidate_assets
from fine_tune_assets.defs.platform.automation import ignored_inputs

import dagster as dg
from upath import UPath
from fine_tune_assets.defs.platform.asset_keys import asset_key
from fine_tune_assets.defs.platform.parquet_io_manager import ParquetIOManager

table = ParquetIOManager(UPath("/t"), frozenset).get_asset_relative_path(dg.build_output_context(asset_key=asset_key("releases")))
graph = defs.resolve_asset_graph()
keys = sorted(key.to_user_string() for key in graph.get_all_asset_keys())
schedule, = defs.schedules
print(json.dumps({
    "keys": keys,
    "table": str(table),
    "parents": sorted({p.to_user_string() for k in graph.get_all_asset_keys() for p in graph.get(k).parent_keys}),
    "checks": sorted(check.to_user_string() for check in graph.asset_check_keys),
    "ignored": sorted({k.to_user_string() for key in graph.get_all_asset_keys()
                       for k in ignored_inputs(graph.get(key).automation_condition)}),
    "candidate": sorted(key.to_user_string() for key in candidate_assets(graph)),
    "jobs": {job.name: sorted(key.to_user_string() for key in job.asset_layer.executable_asset_keys)
             for job in defs.resolve_all_job_defs()},
    "partitions": sorted({graph.get(k).partitions_def.name for k in graph.get_all_asset_keys() if graph.get(k).is_partitioned}),
    "tags": {sensor.name: sensor.run_tags for sensor in defs.sensors if hasattr(sensor, "run_tags")},
    "groups": sorted({graph.get(k).group_name for k in graph.get_all_asset_keys()}),
}))
"""


def _describe(settings: Settings) -> dict[str, Any]:
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(PROJECT_DIR)}
    done = subprocess.run(
        [sys.executable, "-c", _DESCRIBE], env=environment, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("d"))
    file = create_line(settings, "law", "law_contracts")
    with file.open("a", encoding="utf-8") as added:
        added.write("priority: 7\n")
    return _describe(settings), _describe(select_line(settings, "law"))


def test_every_key_of_a_line_starts_with_its_name(described: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Two code locations with the same keys would write each other's history."""
    main, law = described
    for kind in ("keys", "parents", "checks", "ignored", "candidate"):
        assert main[kind], kind
        assert law[kind] == sorted(f"law/{one}" for one in main[kind]), kind


def test_jobs_and_batches_are_the_line_s_own(described: tuple[dict[str, Any], dict[str, Any]]) -> None:
    main, law = described
    assert law["jobs"] == {name: sorted(f"law/{key}" for key in keys) for name, keys in main["jobs"].items()}
    assert (main["partitions"], law["partitions"]) == (["report_batches"], ["law_report_batches"])
    assert main["groups"] == law["groups"], "the ten stages keep their names"


def test_tables_have_the_same_place_in_every_line_s_data_folder(
    described: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    """Commands, gates and the desk read them there by name."""
    main, law = described
    assert main["table"] == law["table"] == "releases/releases"


def test_runs_name_their_line_and_its_priority(described: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """One GPU: queued runs of the line with the higher number start first."""
    main, law = described
    tags = [
        {name: value for name, value in line["tags"]["automation"].items() if name != RECIPE_TAG}
        for line in (law, main)
    ]
    assert tags[0] == {"trigger": "automation", "fine_tune/line": "law", "dagster/priority": "7"}
    assert tags[1] == {"trigger": "automation"}
