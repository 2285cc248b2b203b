"""The Dagster code location of one product line: every asset, check, sensor and schedule of its graph."""

import warnings

import dagster as dg

from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.processes.private_files import keep_files_private
from fine_tune_assets.defs import (
    s01_raw_reports,
    s02_scrubbed_reports,
    s03_unique_reports,
    s04_approved_examples,
    s05_instruction_sets,
    s06_adapters,
    s07_judge_scores,
    s08_merged_weights,
    s09_served_models,
    s10_corrections,
)
from fine_tune_assets.defs.jobs import JOBS
from fine_tune_assets.defs.local_run import progress_logger
from fine_tune_assets.defs.platform.asset_keys import asset_key, asset_name, with_keys
from fine_tune_assets.defs.platform.automation import build_automation_sensor
from fine_tune_assets.defs.platform.notifications import notification_sensor
from fine_tune_assets.defs.platform.recipe_versions import read_section_versions, with_section_versions
from fine_tune_assets.defs.platform.resources import Installation, Worker, parquet_io_manager
from fine_tune_assets.defs.s01_raw_reports.raw_reports import raw_report_sensor
from fine_tune_assets.defs.s06_adapters.adapters import weekly_retraining
from fine_tune_assets.defs.sources import source_sensor

# Dagster itself passes this parameter when it first resolves the definitions. Dagster is pinned.
warnings.filterwarnings("ignore", "Parameter `owners` of initializer `SensorDefinition", dg.BetaWarning)

# Also needed when Dagster is started without `fine-tune`: step processes load libraries that send telemetry, and write files.
go_offline()
keep_files_private()

STAGES = (
    s01_raw_reports,
    s02_scrubbed_reports,
    s03_unique_reports,
    s04_approved_examples,
    s05_instruction_sets,
    s06_adapters,
    s07_judge_scores,
    s08_merged_weights,
    s09_served_models,
    s10_corrections,
)


def _load_graph() -> tuple[list[dg.AssetsDefinition | dg.AssetSpec], list[dg.AssetChecksDefinition]]:
    """All assets and checks. A further product line's keys start with its name."""
    # Without include_specs, external assets are stubs without group, description or partitions.
    found = [asset for stage in STAGES for asset in dg.load_assets_from_package_module(stage, include_specs=True)]
    assets = [asset for asset in found if isinstance(asset, dg.AssetsDefinition)]
    sources = [source for source in found if isinstance(source, dg.AssetSpec)]
    checks = [check for stage in STAGES for check in dg.load_asset_checks_from_package_module(stage)]
    plain = {*(key for asset in assets for key in asset.keys), *(source.key for source in sources)}
    keys = {key: asset_key(asset_name(key)) for key in plain if key != asset_key(asset_name(key))}
    named = [source.replace_attributes(key=keys.get(source.key, source.key)) for source in sources]
    return [*(with_keys(asset, keys) for asset in assets), *named], [with_keys(check, keys) for check in checks]


_ASSETS, _CHECKS = _load_graph()


def build_defs() -> dg.Definitions:
    """The graph with the current recipe in its code versions; without, if the recipe can't be read."""
    sections = read_section_versions() or {}

    def add_recipe(spec: dg.AssetSpec) -> dg.AssetSpec:
        if spec.code_version is None:
            return spec
        return spec.replace_attributes(code_version=with_section_versions(spec.code_version, sections))

    return dg.Definitions(
        assets=list(dg.map_asset_specs(add_recipe, _ASSETS)),
        asset_checks=_CHECKS,
        sensors=[raw_report_sensor, source_sensor, notification_sensor, build_automation_sensor(sections)],
        schedules=[weekly_retraining],
        jobs=JOBS,
        resources={"installation": Installation(), "worker": Worker(), "io_manager": parquet_io_manager},
        loggers={"progress": progress_logger},
        # A process per step costs two seconds of CPU; heavy work runs in a worker process anyway.
        executor=dg.in_process_executor,
    )


defs = build_defs()
