"""A changed section of the recipe rebuilds the assets that read it, and no other."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.definitions import build_defs
from fine_tune_assets.defs.local_run import list_recipe_changes
from fine_tune_assets.defs.platform.automation import (
    CODE_VERSION,
    DATA_VERSION,
    INPUT_VERSION,
    build_automation_sensor,
    has_changed_inputs,
)
from fine_tune_assets.defs.platform.recipe_versions import (
    RECIPE_TAG,
    describe_sections,
    list_changed_sections,
    list_sections,
    read_section_versions,
    recipe_tags,
    section_version,
    with_section_versions,
)
from fine_tune_assets.recipes.recipe_parts import SECTIONS
from fine_tune_assets_tests.conftest import replace_file, write_recipe

STRICTER_GATE = {"minimum_gain": 0.5}


def _versions() -> dict[str, str]:
    """Asset → code version, with the current recipe."""
    nodes = build_defs().resolve_asset_graph().asset_nodes
    return {node.key.to_user_string(): node.code_version for node in nodes if node.code_version}


def test_every_section_is_in_the_code_version_of_an_asset(installation_dir: Path) -> None:
    """A field without a reader would change nothing, in silence."""
    assert installation_dir.is_dir()
    named = {section for version in _versions().values() for section in list_sections(version)}
    assert set(SECTIONS) <= named


def test_a_changed_field_changes_the_versions_of_its_readers_only(installation_dir: Path) -> None:
    before = _versions()
    write_recipe(installation_dir, gate=STRICTER_GATE)
    after = _versions()
    assert {name for name in before if before[name] != after[name]} == {"judge_agreement", "promotion_verdicts"}
    assert list_changed_sections(before["promotion_verdicts"], after["promotion_verdicts"]) == ["gate"]


def test_a_comment_in_the_recipe_changes_no_version(installation_dir: Path) -> None:
    before, recipe = _versions(), installation_dir / "recipe.yaml"
    replace_file(recipe, recipe.read_bytes() + b"# a comment\n")
    assert _versions() == before


def test_the_own_version_stays_in_front(installation_dir: Path) -> None:
    assert installation_dir.is_dir()
    version = with_section_versions("9 tasks=old", {"tasks": "new"})
    assert (version, section_version(version, "tasks"), section_version(version, "dedup")) == (
        "9 tasks=new",
        "new",
        None,
    )


class Graph:
    """`promotion_verdicts` and what it reads, each materialized with the recipe of `before`."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.before = instance, build_defs()
        self.key = dg.AssetKey("promotion_verdicts")
        self.graph: Any = self.before.resolve_asset_graph()
        for key in (*self.graph.get(self.key).parent_keys, self.key):
            self._materialize(key)

    def _materialize(self, key: dg.AssetKey) -> None:
        node = self.graph.get(key)
        inputs = {INPUT_VERSION + "/".join(parent.path): "1" for parent in node.parent_keys}
        code = {CODE_VERSION: node.code_version} if node.code_version else {}
        tags = {DATA_VERSION: "1", **inputs, **code}
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key, tags=tags))

    def is_due(self) -> bool:
        """With the current recipe."""
        graph: Any = build_defs().resolve_asset_graph()
        return has_changed_inputs(graph, graph.get(self.key), self.instance)

    def attempt(self, status: dg.DagsterRunStatus, tags: dict[str, str]) -> None:
        """A run that planned the asset and did not materialize it."""
        job = build_defs().resolve_implicit_global_asset_job_def().get_subset(asset_selection={self.key})
        self.instance.create_run_for_job(job, asset_selection={self.key}, status=status, tags=tags)


@pytest.fixture
def graph(instance: dg.DagsterInstance) -> Graph:
    return Graph(instance)


def test_a_changed_section_makes_its_readers_due(graph: Graph, installation_dir: Path) -> None:
    assert not graph.is_due()
    write_recipe(installation_dir, gate=STRICTER_GATE)
    assert graph.is_due()
    assert list_recipe_changes(build_defs(), graph.instance) == ["gate"]


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_a_failed_run_is_repeated_with_a_corrected_recipe_and_not_before(
    graph: Graph, installation_dir: Path, status: dg.DagsterRunStatus
) -> None:
    """People mend a failed training in the recipe, and expect it to start again."""
    write_recipe(installation_dir, gate=STRICTER_GATE)
    graph.attempt(status, recipe_tags())
    assert not graph.is_due()
    write_recipe(installation_dir, gate={"minimum_gain": 0.6})
    assert graph.is_due()


def test_another_section_does_not_repeat_a_failed_run(graph: Graph, installation_dir: Path) -> None:
    write_recipe(installation_dir, gate=STRICTER_GATE)
    graph.attempt(dg.DagsterRunStatus.FAILURE, recipe_tags())
    write_recipe(installation_dir, gate=STRICTER_GATE, drift={"minimum_requests": 999})
    assert not graph.is_due()


def _tick(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Any:
    repository = definitions.get_repository_def()
    sensor: Any = repository.get_sensor_def("automation")
    return sensor.evaluate_tick(dg.build_sensor_context(instance, repository_def=repository))


def test_the_sensor_waits_until_the_definitions_have_the_current_recipe(
    installation_dir: Path, instance: dg.DagsterInstance
) -> None:
    """A run loads the recipe anew. Its code version would differ from the loaded one, and the asset would run at every tick."""
    loaded = build_defs()
    assert "recipe" not in _tick(build_defs(), instance).skip_message
    write_recipe(installation_dir, gate=STRICTER_GATE)
    assert "recipe" in _tick(loaded, instance).skip_message
    assert "recipe" not in _tick(build_defs(), instance).skip_message


def test_an_unreadable_recipe_starts_nothing(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """Every code version would differ, and the whole graph would run into the same error."""
    replace_file(installation_dir / "recipe.yaml", b"name: [")
    assert read_section_versions() is None
    assert recipe_tags() == {}
    assert "recipe" in _tick(build_defs(), instance).skip_message


def test_requested_runs_name_their_recipe(installation_dir: Path) -> None:
    """Also those that are cancelled in the queue."""
    assert installation_dir.is_dir()
    sections = read_section_versions()
    assert sections is not None
    assert build_automation_sensor(sections).run_tags[RECIPE_TAG] == describe_sections(sections)


def test_a_run_records_its_recipe_and_its_code_version(installation_dir: Path, instance: dg.DagsterInstance) -> None:
    """Also a run that a person launched in the UI."""
    assert installation_dir.is_dir()
    definitions = build_defs()
    job = definitions.resolve_implicit_global_asset_job_def()
    key = dg.AssetKey("general_examples")
    done = job.execute_in_process(instance=instance, asset_selection=[key])
    run = instance.get_run_by_id(done.run_id)
    assert run is not None
    assert {RECIPE_TAG: run.tags[RECIPE_TAG]} == recipe_tags()
    (event,) = done.get_asset_materialization_events()
    tags = event.step_materialization_data.materialization.tags or {}
    assert tags[CODE_VERSION] == definitions.resolve_asset_graph().get(key).code_version
