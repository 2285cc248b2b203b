"""The Dagster code location: every asset, check, sensor and schedule of the graph. The only entry point."""

import dagster as dg

from fine_tune_assets.core.offline import go_offline
from fine_tune_assets.defs import (
    named_assets,
    s01_erased_patients,
    s01_raw_reports,
    s02_missed_identifiers,
    s02_scrubbed_reports,
    s02_surrogates,
    s02_taggers,
    s03_unique_reports,
    s04_approved_examples,
    s04_drafting_models,
    s04_model_drafts,
    s04_standing_decisions,
    s05_instruction_sets,
    s05_set_checks,
    s06_adapters,
    s06_base_models,
    s06_preflight,
    s06_sweeps,
    s06_training_plans,
    s07_answer_checks,
    s07_judge_agreement,
    s07_judge_scores,
    s07_memorization_probes,
    s07_promotion_verdicts,
    s07_robustness_probes,
    s08_merged_weights,
    s08_quantized_weights,
    s08_releases,
    s09_knowledge,
    s09_served_models,
    s10_corrections,
    s10_production_drift,
    s10_quarantine,
    sources,
    telling,
)
from fine_tune_assets.defs.automation import AUTOMATION_SENSOR
from fine_tune_assets.defs.local_run import progress_logger
from fine_tune_assets.defs.pool_waiting import sleep_while_waiting
from fine_tune_assets.defs.resources import Installation, Worker, parquet_tables
from fine_tune_assets.defs.sqlite_engines import keep_engines

# Whoever starts Dagster without our command: step processes load libraries that would tell their makers about it.
go_offline()
keep_engines()
sleep_while_waiting()

STAGES = (
    sources,
    s01_raw_reports,
    s01_erased_patients,
    s02_missed_identifiers,
    s02_surrogates,
    s02_taggers,
    s02_scrubbed_reports,
    s03_unique_reports,
    s04_approved_examples,
    s04_drafting_models,
    s04_model_drafts,
    s04_standing_decisions,
    s05_instruction_sets,
    s05_set_checks,
    s06_adapters,
    s06_base_models,
    s06_preflight,
    s06_sweeps,
    s06_training_plans,
    s07_answer_checks,
    s07_judge_agreement,
    s07_judge_scores,
    s07_robustness_probes,
    s07_memorization_probes,
    s07_promotion_verdicts,
    s08_merged_weights,
    s08_quantized_weights,
    s08_releases,
    s09_knowledge,
    s09_served_models,
    s10_corrections,
    s10_production_drift,
    s10_quarantine,
)

defs = dg.Definitions(
    # Without include_specs the external assets would be stubs: no group, no description, and no partitions.
    assets=[asset for stage in STAGES for asset in dg.load_assets_from_modules([stage], include_specs=True)],
    asset_checks=[check for stage in STAGES for check in dg.load_asset_checks_from_modules([stage])],
    sensors=[
        named_assets.named_assets_requested,
        s01_raw_reports.raw_reports_changed,
        sources.sources_changed,
        telling.news_told,
        AUTOMATION_SENSOR,
    ],
    schedules=[s06_adapters.weekly_retraining],
    resources={"installation": Installation(), "worker": Worker(), "io_manager": parquet_tables},
    loggers={"progress": progress_logger},
    # One process a step costs two seconds of CPU each; what is heavy runs in a worker process anyway.
    executor=dg.in_process_executor,
)
