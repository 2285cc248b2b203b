"""What follows from an adapter: each stage runs once for it, after the one before, and never for an adapter that is gone."""

import dagster as dg
import pytest

from fine_tune_assets.defs.s06_adapters.adapters import after_training
from fine_tune_assets_tests.defs.platform.automation_graph import Graph
from fine_tune_assets_tests.defs.training_inputs import INPUTS

pytestmark = pytest.mark.slow  # some forty ticks and runs


@pytest.fixture
def graph(installation_dir: object, instance: dg.DagsterInstance) -> Graph:  # noqa: ARG001
    def stage(name: str) -> dg.AssetsDefinition:
        @dg.asset(name=name, deps=INPUTS[name], automation_condition=after_training())
        def made() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(data_version=graph.compute())

        return made

    @dg.asset_check(asset="promotion_verdicts", blocking=True)
    def verdict_allows_release() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=graph.output != "refuse")

    made = [stage(name) for name in INPUTS]
    sources = [dg.AssetSpec("adapters"), dg.AssetSpec("gate")]
    graph = Graph(dg.Definitions(assets=[*sources, *made], asset_checks=[verdict_allows_release]), instance)
    graph.report("gate", "1")
    return graph


def _settle(graph: Graph) -> list[set[str]]:
    """The requested runs of each tick; each run is executed immediately."""
    asked: list[set[str]] = []
    for _ in range(20):
        wanted = {str(name) for name in graph.tick()}
        if not wanted:
            return asked
        asked.append(wanted)
        graph.run(*sorted(wanted))
    pytest.fail(f"does not settle: {asked}")


ONE_AFTER_THE_OTHER = [{name} for name in INPUTS]


def test_each_adapter_goes_through_the_stages_one_after_the_other(graph: Graph) -> None:
    """The second one finds every gate open from the first: merging it before its verdict would only be refused."""
    for version in ("1", "2", "3"):
        graph.report("adapters", version)
        assert _settle(graph) == ONE_AFTER_THE_OTHER, version


def test_behind_a_closed_gate_nothing_is_even_tried(graph: Graph) -> None:
    """A refused candidate must not fill the run list with failures."""
    graph.report("adapters", "1")
    assert _settle(graph) == ONE_AFTER_THE_OTHER
    graph.output = "refuse"
    graph.report("adapters", "2")
    assert _settle(graph) == [{"judge_scores"}, {"promotion_verdicts"}]
    graph.output = None
    graph.report("adapters", "3")
    assert _settle(graph) == ONE_AFTER_THE_OTHER


def test_unchanged_grades_change_nothing_behind_them(graph: Graph) -> None:
    """A looser gate with the same verdict must not merge again."""
    graph.output = "same"
    graph.report("adapters", "1")
    assert _settle(graph) == ONE_AFTER_THE_OTHER
    graph.report("gate", "2")
    assert _settle(graph) == [{"judge_scores"}]
