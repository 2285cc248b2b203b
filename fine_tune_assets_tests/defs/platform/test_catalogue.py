"""A step reads only the tables that its asset declares, so the lineage in the Dagster UI is complete."""

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow.parquet as pq
import pytest

from fine_tune_assets.core.paths import Layout
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.platform import catalogue
from fine_tune_assets.defs.platform.automation import ignored_inputs, triggering_inputs
from fine_tune_assets.defs.platform.candidate import candidate_assets
from fine_tune_assets.defs.platform.catalogue import STANDS_FOR, StoredAsset, UndeclaredReadError, stored_asset
from fine_tune_assets.tables.asset_tables import AUXILIARY_TABLES, TABLES
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets.tables.scrubbing_rows import WithheldReport

DEFS = Path(str(catalogue.__file__)).parents[1]
OPENS_TABLES = {
    "platform/catalogue.py": "the catalogue itself",
    "platform/resources.py": "the root of the IO manager and of `tables_with`, and the guard of the patients' key",
    "s01_raw_reports/erased_subjects.py": "counts rows of erased patients in every table that there is",
}
"""Modules under `defs` that turn names into stored tables, and why they may."""
GRAPH: Any = defs.resolve_asset_graph()
RECALL = {"labelled_set": "s", "measure": "masked_recall", "label": "all", "value": 1.0}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Any]]:
    """Reads a table that exists: `scrub_recall` unless named."""
    folder = tmp_path / "tables" / "scrub_recall"
    folder.mkdir(parents=True)
    table = table_from_rows([{**RECALL, "scrubber_version": "v"}], TABLES["scrub_recall"])
    pq.write_table(table, folder / "scrub_recall.parquet")
    return lambda name="scrub_recall": stored_asset(Layout(tmp_path), name).rows(["scrubber_version"])


def test_an_auxiliary_table_is_declared_by_the_asset_that_stores_it(tmp_path: Path) -> None:
    """Its rows come from that asset's step, so that the lineage is complete without a node of its own."""
    layout = Layout(tmp_path)
    made = WithheldReport.SCHEMA.empty_table()

    @dg.asset
    def scrubbed_reports() -> dg.MaterializeResult[None]:
        stored_asset(layout, "withheld_reports").write(made, "2026-02")
        return dg.MaterializeResult()

    @dg.asset(deps=[scrubbed_reports])
    def reader() -> dg.MaterializeResult[None]:
        assert stored_asset(layout, "withheld_reports").table("2026-02") == made
        return dg.MaterializeResult()

    @dg.asset
    def stranger() -> dg.MaterializeResult[None]:
        stored_asset(layout, "withheld_reports")
        return dg.MaterializeResult()

    _run(scrubbed_reports, reader)
    with pytest.raises(UndeclaredReadError, match="'scrubbed_reports'"):
        _run(stranger)


def _run(*made: Any, selection: Any = None) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        dg.materialize([*made], instance=instance, selection=selection)


def test_a_step_that_reads_an_undeclared_table_fails(read: Callable[..., list[Any]]) -> None:
    """The error names asset, table and remedy."""

    @dg.asset(deps=["reports"])
    def reader() -> None:
        read()

    with pytest.raises(UndeclaredReadError, match=r"reader.*scrub_recall.*deps"):
        _run(reader)


def test_a_step_that_declares_the_table_reads_it(read: Callable[..., list[Any]]) -> None:
    """The plain case, also of one asset of several that a step makes."""

    @dg.multi_asset(specs=[dg.AssetSpec("one", deps=["scrub_recall"]), dg.AssetSpec("other")])
    def reader() -> Iterator[dg.MaterializeResult[None]]:
        assert read() == [{"scrubber_version": "v"}]
        yield from (dg.MaterializeResult(asset_key=name) for name in ("one", "other"))

    _run(reader)


def test_an_asset_reads_its_own_past(read: Callable[..., list[Any]]) -> None:
    """Model drafts are kept from one run to the next; an asset can't depend on itself."""

    @dg.asset
    def scrub_recall() -> None:
        assert read() == [{"scrubber_version": "v"}]

    _run(scrub_recall)


@pytest.mark.parametrize(
    ("of_asset", "of_check", "is_allowed"),
    [(["scrub_recall"], [], True), ([], ["scrub_recall"], True), ([], [], False)],
    ids=["declared by its asset", "declared by itself", "undeclared"],
)
@pytest.mark.parametrize("kind", [dg.AssetCheckExecutionContext, dg.OpExecutionContext])
def test_a_check_reads_what_its_asset_or_itself_declares(
    read: Callable[..., list[Any]], of_asset: list[str], of_check: list[str], is_allowed: bool, kind: Any
) -> None:
    """Alone in its run too, as when a person starts it in the UI."""

    @dg.asset(deps=of_asset)
    def checked() -> None: ...

    @dg.asset_check(asset=checked, additional_deps=of_check)
    def holds(context: kind) -> dg.AssetCheckResult:  # type: ignore[valid-type]  # noqa: ARG001
        return dg.AssetCheckResult(passed=read() == [{"scrubber_version": "v"}])

    for selection in (None, dg.AssetSelection.checks(holds)):
        if is_allowed:
            _run(checked, holds, selection=selection)
        else:
            with pytest.raises(UndeclaredReadError):
                _run(checked, holds, selection=selection)


def test_outside_of_a_step_nothing_is_checked(read: Callable[..., list[Any]]) -> None:
    """Sensors and commands have no dependencies to declare."""

    @dg.sensor(target="*")
    def looks() -> dg.SkipReason:
        return dg.SkipReason(str(read()))

    assert read() == [{"scrubber_version": "v"}]
    assert "v" in str(looks(dg.build_sensor_context()))


def test_a_table_that_was_never_made_is_empty(tmp_path: Path) -> None:
    """The first run of an installation."""
    never = StoredAsset("scrub_recall", tmp_path)
    assert (never.files(), never.rows(), never.find("label", ["all"])) == ([], [], [])
    assert never.table() == TABLES["scrub_recall"].empty_table()


def test_rows_are_found_in_every_batch_or_in_one(tmp_path: Path) -> None:
    """The scrubbed texts of dropped reports are read batch by batch."""
    for batch in ("a", "b"):
        table = table_from_rows([{**RECALL, "scrubber_version": batch}], TABLES["scrub_recall"])
        pq.write_table(table, tmp_path / f"{batch}.parquet")
    stored = StoredAsset("scrub_recall", tmp_path)
    found = stored.find("label", ["all"], ["scrubber_version"])
    assert [row["scrubber_version"] for row in found] == ["a", "b"]
    assert stored.find("label", ["all"], ["scrubber_version"], batch="b") == found[1:]
    assert stored.find("label", []) == []


@pytest.mark.parametrize(("asset", "table"), [(asset, table) for asset, made in STANDS_FOR.items() for table in made])
def test_an_external_asset_stands_for_tables_of_later_stages_only(asset: str, table: str) -> None:
    """A table of an earlier stage can be declared itself."""
    parent, child = GRAPH.get(dg.AssetKey(table)), GRAPH.get(dg.AssetKey(asset))
    assert child.is_external
    assert parent.group_name > child.group_name


def test_readers_of_an_external_asset_read_the_tables_behind_it(read: Callable[..., list[Any]]) -> None:
    """Stage 4 reads corrections that stage 10 scrubbed; the rest of stage 10 stays undeclared."""

    @dg.asset(deps=["drafting_models"])
    def model_drafts() -> None:
        assert stored_asset(Layout(Path("missing")), "base_models").rows() == []

    @dg.asset(deps=["drafting_models"])
    def other_drafts() -> None:
        read()

    _run(model_drafts)
    with pytest.raises(UndeclaredReadError):
        _run(other_drafts)


def test_only_the_catalogue_turns_a_name_into_a_stored_table() -> None:
    """A path that is built elsewhere would be an undeclared read."""
    found = {str(path.relative_to(DEFS)) for path in DEFS.rglob("*.py") if _opens_tables(path)}
    assert found == set(OPENS_TABLES)


def _opens_tables(path: Path) -> bool:
    """Whether a module reads `layout.tables` or `layout.table`."""
    attributes = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute))
    return any(node.attr in ("table", "tables") and ast.unparse(node.value).endswith("layout") for node in attributes)


@pytest.mark.parametrize("name", [name for name in TABLES if name not in AUXILIARY_TABLES])
def test_what_triggers_nothing_is_a_dependency(name: str) -> None:
    """A misspelt name would leave the real one triggering."""
    node = GRAPH.get(dg.AssetKey(name))
    assert ignored_inputs(node.automation_condition) <= node.parent_keys


def test_a_dependency_that_triggers_nothing_makes_no_stage_of_a_candidate() -> None:
    """`judge_agreement` reads the answers of the candidate; a candidate does not wait for it."""
    adapters, agreement = dg.AssetKey("adapters"), dg.AssetKey("judge_agreement")
    assert adapters in GRAPH.get(agreement).parent_keys - triggering_inputs(GRAPH.get(agreement))
    assert agreement not in candidate_assets(GRAPH)
    assert dg.AssetKey("judge_scores") in candidate_assets(GRAPH)
