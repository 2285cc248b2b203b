"""What a command prints of runs: failed checks that only warn, each with what mends it, and which assets failed."""

from typing import Any

import dagster as dg

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.local_run import (
    CheckOutcome,
    StageRun,
    Summary,
    describe_run,
    materialize_stale,
    progress_logger,
)
from fine_tune_assets.defs.platform.check_remedies import CHECK_REMEDIES


def run(*checks: CheckOutcome) -> StageRun:
    return StageRun(("reports",), None, True, "r", checks=checks)


def test_every_check_that_only_warns_has_a_remedy() -> None:
    """A new check without one would be a warning without a next step."""
    graph: Any = defs.resolve_asset_graph()
    assert set(CHECK_REMEDIES) == {key.name for key in graph.asset_check_keys if not graph.get(key).blocking}


def test_only_checks_that_fail_at_their_last_run_are_printed() -> None:
    """The collision fails when the second batch is scrubbed, and passes after the first one was scrubbed again."""

    def outcome(partition: str, is_passed: bool) -> CheckOutcome:
        return CheckOutcome("scrubbed_reports", "no_report_is_withheld", partition, is_passed, "Two are.")

    summary = Summary([run(outcome("a", False), outcome("b", False)), run(outcome("a", True))])
    (line,) = summary.warnings
    assert line.startswith("no_report_is_withheld of scrubbed_reports [b]. Two are. ")
    assert line.endswith(CHECK_REMEDIES["no_report_is_withheld"])


def test_a_run_reports_its_failed_warnings_and_not_its_errors(instance: dg.DagsterInstance) -> None:
    """Errors of blocking checks stop the run and are printed as such."""

    @dg.asset
    def reports() -> None: ...

    def check(name: str, severity: dg.AssetCheckSeverity) -> Any:
        @dg.asset_check(asset=reports, name=name)
        def made() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=False, severity=severity, metadata={"reason": "Two are."})

        return made

    checks = [check("warns", dg.AssetCheckSeverity.WARN), check("fails", dg.AssetCheckSeverity.ERROR)]
    definitions = dg.Definitions(assets=[reports], asset_checks=checks, loggers={"progress": progress_logger})
    summary = materialize_stale(definitions, instance, only=set(), forced=["reports"])
    assert [line.split(".")[0] for line in summary.warnings] == ["warns of reports"]


def test_a_failed_run_names_what_failed_and_counts_the_rest() -> None:
    """All eight assets of a batch's run were listed as failed when the second one was."""

    @dg.asset
    def reports() -> None: ...

    @dg.asset(deps=[reports])
    def scrubbed_reports() -> None:
        raise FineTuneError("The key is missing.")

    @dg.asset(deps=[scrubbed_reports])
    def unique_reports() -> None: ...

    done = dg.materialize([reports, scrubbed_reports, unique_reports], raise_on_error=False)
    names = ("reports", "scrubbed_reports", "unique_reports")
    run = describe_run(names, "clinic", done.run_id, done.success, done.all_events)
    assert run.name == "scrubbed_reports [clinic] (1 more assets of this run were not materialized)"
    assert StageRun(names[:1], None, True, "r").name == "reports"
