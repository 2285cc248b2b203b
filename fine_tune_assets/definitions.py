"""The Dagster code location: every asset, check, sensor and schedule of the graph. The only entry point."""

import dagster as dg

from fine_tune_assets.core.processes.offline import go_offline
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
from fine_tune_assets.defs.local_run import progress_logger
from fine_tune_assets.defs.named_assets import named_assets_requested
from fine_tune_assets.defs.platform.automation import AUTOMATION_SENSOR
from fine_tune_assets.defs.platform.dagster_compat import keep_engines, sleep_while_waiting
from fine_tune_assets.defs.platform.notifications import news_told
from fine_tune_assets.defs.platform.recipe_sections import recipe_sections
from fine_tune_assets.defs.platform.resources import Installation, Worker, parquet_tables
from fine_tune_assets.defs.s01_raw_reports.raw_reports import raw_reports_changed
from fine_tune_assets.defs.s06_adapters.adapters import weekly_retraining
from fine_tune_assets.defs.sources import sources_changed

# Whoever starts Dagster without our command: step processes load libraries that would tell their makers about it.
go_offline()
keep_engines()
sleep_while_waiting()

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

defs = dg.Definitions(
    # Without include_specs the external assets would be stubs: no group, no description, and no partitions.
    assets=[
        *recipe_sections,
        *(asset for stage in STAGES for asset in dg.load_assets_from_package_module(stage, include_specs=True)),
    ],
    asset_checks=[check for stage in STAGES for check in dg.load_asset_checks_from_package_module(stage)],
    sensors=[
        named_assets_requested,
        raw_reports_changed,
        sources_changed,
        news_told,
        AUTOMATION_SENSOR,
    ],
    schedules=[weekly_retraining],
    resources={"installation": Installation(), "worker": Worker(), "io_manager": parquet_tables},
    loggers={"progress": progress_logger},
    # One process a step costs two seconds of CPU each; what is heavy runs in a worker process anyway.
    executor=dg.in_process_executor,
)
