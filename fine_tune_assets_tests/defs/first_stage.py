"""The definitions of stage 1 alone: one look at the conditions of the whole graph takes a second."""

import dagster as dg

from fine_tune_assets.definitions import defs as whole
from fine_tune_assets.defs.s01_raw_reports import erased_subjects as erased_subjects
from fine_tune_assets.defs.s01_raw_reports import raw_reports

STAGES = (erased_subjects, raw_reports)

defs = dg.Definitions(
    assets=[asset for stage in STAGES for asset in dg.load_assets_from_modules([stage], include_specs=True)],
    asset_checks=[check for stage in STAGES for check in dg.load_asset_checks_from_modules([stage])],
    resources=whole.resources,
    loggers=whole.loggers,
    executor=whole.executor,
)
