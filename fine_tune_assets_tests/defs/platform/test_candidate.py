"""What is approved while a candidate is on its way waits for it: its own training comes when that one is served, held or
refused, or has failed."""

import dagster as dg
import pytest

from fine_tune_assets.defs.platform.automation import InputsDiffer, InputsPresent, inputs_are_final, quiet
from fine_tune_assets.defs.s06_adapters import adapters as s06_adapters
from fine_tune_assets.defs.s06_adapters.adapters import TrainingIsDue, behind_training
from fine_tune_assets.training.decisions import Due
from fine_tune_assets_tests.defs.platform.test_automation import Graph
from fine_tune_assets_tests.defs.test_behind_training import INPUTS

pytestmark = pytest.mark.slow  # some thirty ticks and runs


class Story:
    """The stages of a candidate as in the real graph, and a training that is always due."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.passes, self.broken = True, set[str]()

        @dg.asset(
            deps=["instruction_sets"],
            automation_condition=quiet() & inputs_are_final() & InputsPresent() & InputsDiffer() & TrainingIsDue(),
        )
        def adapters() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult(data_version=self.graph.compute())

        @dg.asset_check(asset="promotion_verdicts", blocking=True)
        def is_promoted() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=self.passes)

        sources = [dg.AssetSpec("instruction_sets"), dg.AssetSpec("gate")]
        assets = [*sources, adapters, *(self._stage(name) for name in INPUTS)]
        self.graph = Graph(dg.Definitions(assets=assets, asset_checks=[is_promoted]), instance)
        self.graph.report("gate", "1")

    def _stage(self, name: str) -> dg.AssetsDefinition:
        @dg.asset(name=name, deps=INPUTS[name], automation_condition=behind_training())
        def made() -> dg.MaterializeResult[None]:
            if name in self.broken:
                raise RuntimeError("out of memory")
            return dg.MaterializeResult(data_version=self.graph.compute())

        return made

    def approve(self, version: str) -> None:
        self.graph.report("instruction_sets", version)

    def goes_on_with(self) -> set[str]:
        """What is asked for next, run at once."""
        wanted = {str(name) for name in self.graph.tick()}
        if wanted:
            self.graph.run(*sorted(wanted))
        return wanted

    def until_trained_again(self) -> list[set[str]]:
        """What was made before the next training began."""
        made: list[set[str]] = []
        while (wanted := self.goes_on_with()) != {"adapters"}:
            assert wanted, f"stands still behind {made}"
            made.append(wanted)
        return made


@pytest.fixture
def is_due(monkeypatch: pytest.MonkeyPatch) -> list[Due]:
    """What a training is due for; the counts behind it have tests of their own."""
    now = [Due.NEXT]
    monkeypatch.setattr(s06_adapters, "_due", lambda *_, **__: now[0])
    return now


@pytest.fixture
def story(installation_dir: object, instance: dg.DagsterInstance, is_due: list[Due]) -> Story:  # noqa: ARG001
    """A candidate was trained, and more was approved since."""
    found = Story(instance)
    found.approve("1")
    assert found.goes_on_with() == {"adapters"}
    found.approve("2")
    return found


def test_a_candidate_is_served_before_the_next_training(story: Story) -> None:
    """Where corrections never end, each training would put its adapter in the place of one that nobody ever got."""
    assert story.until_trained_again() == [{name} for name in INPUTS]
    assert story.goes_on_with() == {"judge_scores"}


@pytest.mark.parametrize("stops", ["a closed gate", "a failure"])
def test_a_candidate_that_came_to_its_end_holds_up_nothing(story: Story, stops: str) -> None:
    """One that is on hold may wait for a signature for weeks; what failed waits for somebody."""
    story.passes = stops != "a closed gate"
    story.broken = {"judge_scores"} if stops == "a failure" else set()
    assert story.until_trained_again()[-1] == ({"judge_scores"} if stops == "a failure" else {"promotion_verdicts"})


def test_what_should_not_have_been_learned_waits_for_nothing(story: Story, is_due: list[Due]) -> None:
    """A candidate with an erased patient is not judged first."""
    is_due[0] = Due.NOW
    assert story.goes_on_with() == {"adapters"}
