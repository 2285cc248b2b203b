"""Column lineage in the Dagster UI names columns that exist, of assets that the table depends on."""

from typing import Any

import dagster as dg
import pytest

from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.platform.column_lineage import COLUMN_SOURCES, column_lineage
from fine_tune_assets.defs.platform.metadata import column_schema, table_result
from fine_tune_assets.tables.asset_tables import TABLES

GRAPH: Any = defs.resolve_asset_graph()
WITHOUT_LINEAGE = {"phi_taggers": "its rows measure a model"}
"""Tables of stages 1 to 5 without column lineage, and why."""
FIRST_STAGES = [
    key.to_user_string()
    for key in sorted(GRAPH.executable_asset_keys)
    if "s01" <= GRAPH.get(key).group_name < "s06" and key.to_user_string() not in WITHOUT_LINEAGE
]


def _columns(asset: str) -> set[str]:
    shown = GRAPH.get(dg.AssetKey(asset)).metadata["dagster/column_schema"]
    return {column.name for column in getattr(shown, "value", shown).columns}


def test_every_table_of_the_first_five_stages_has_column_lineage() -> None:
    """From the raw file to the conversation that a model is trained on."""
    assert sorted(COLUMN_SOURCES) == sorted(FIRST_STAGES)


@pytest.mark.parametrize("table", FIRST_STAGES)
def test_each_column_is_made_of_columns_that_exist(table: str) -> None:
    """A renamed column must not leave a dead end in the UI."""
    assert set(COLUMN_SOURCES[table]) == set(TABLES[table].names)
    parents = {key.to_user_string() for key in GRAPH.get(dg.AssetKey(table)).parent_keys}
    for sources in COLUMN_SOURCES[table].values():
        for source in sources:
            asset, column = source.split(".")
            assert asset in parents
            assert column in _columns(asset)


@pytest.mark.parametrize("table", FIRST_STAGES)
def test_a_materialization_carries_the_lineage(table: str) -> None:
    """The UI reads it from the newest materialization. Dagster refuses a source that is named twice."""
    shown: Any = table_result(table, TABLES[table].empty_table(), "v").metadata["dagster/column_lineage"]  # type: ignore[index]
    assert set(shown.deps_by_column) == set(TABLES[table].names)


def test_the_lineage_names_assets_and_columns() -> None:
    """Later stages have none."""
    (shown,) = column_lineage("unique_reports").values()
    assert shown.deps_by_column["text"] == [dg.TableColumnDep("scrubbed_reports", "text")]
    assert column_lineage("adapters") == {}


def test_people_see_the_sources_in_the_descriptions_of_the_columns() -> None:
    """The open-source UI does not draw column lineage."""
    columns = {column.name: column.description for column in column_schema("scrubbed_reports").columns}
    assert columns["text"].endswith("← reports.text, reports.known_identifiers")
    assert "←" not in columns["scrubber_version"]
