"""External sources as assets report them."""

import dagster as dg

from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.sources import report_sources


def reported_by(instance: dg.DagsterInstance) -> set[str]:
    """The sources whose content is not the one last reported; from now on it is."""
    found = report_sources(instance, Installation(), print)
    if isinstance(found, dg.SkipReason):
        return set()
    for event in found.asset_events:
        instance.report_runless_asset_event(event)
    return {event.asset_key.to_user_string() for event in found.asset_events}
