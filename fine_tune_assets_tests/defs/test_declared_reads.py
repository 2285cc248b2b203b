"""Every table that an asset's code can reach is declared, found by reading the code: a step would fail only when it runs.

Follows names through the functions of `defs/`, and the arguments of `stored` and `tables_folder`.
"""

import ast
import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from fine_tune_assets.core.paths import PACKAGE_DIR
from fine_tune_assets.definitions import defs
from fine_tune_assets.defs.platform.catalogue import STANDS_FOR
from fine_tune_assets.tables.asset_tables import AUXILIARY_TABLES, TABLES

DEFS = PACKAGE_DIR / "defs"
GRAPH = defs.resolve_asset_graph()
STEPS = sorted({made.op.name for made in GRAPH.assets_defs if made.is_executable and made.keys})


@cache
def _functions() -> dict[str, tuple[Path, ast.FunctionDef]]:
    """Name → its module and code; the names are unique among what assets reach."""
    found = {}
    for path in sorted(DEFS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                found[node.name] = (path, node)
    return found


def _named_tables(path: Path, argument: ast.expr) -> Iterator[str]:
    """The names in an argument: a text, a constant of the module, or a starred constant."""
    inner = argument.value if isinstance(argument, ast.Starred) else argument
    if isinstance(inner, ast.Constant):
        yield str(inner.value)
    elif isinstance(inner, ast.Name):
        module = importlib.import_module(".".join(path.relative_to(PACKAGE_DIR.parent).with_suffix("").parts))
        value = getattr(module, inner.id, ())
        yield from (value,) if isinstance(value, str) else value


def _read_tables(name: str, seen: set[str]) -> set[str]:
    """The tables that a function and those that it names read."""
    if name in seen or name not in _functions():
        return set()
    seen.add(name)
    path, node = _functions()[name]
    tables = set[str]()
    for one in ast.walk(node):
        method = one.func.attr if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) else ""
        if method in ("stored", "tables_folder"):
            tables.update(table for argument in one.args for table in _named_tables(path, argument))
    for called in _named_functions(node) - {*STEPS}:
        tables |= _read_tables(called, seen)
    return tables


def _named_functions(node: ast.FunctionDef) -> set[str]:
    """The names in a function that are not its own variables: an argument may have the name of an asset."""
    names = [one for one in ast.walk(node) if isinstance(one, ast.Name)]
    own = {one.id for one in names if isinstance(one.ctx, ast.Store)}
    own |= {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
    return {one.id for one in names} - own


@pytest.mark.parametrize("step", STEPS)
def test_what_the_code_of_an_asset_reads_is_declared(step: str) -> None:
    made = next(one for one in GRAPH.assets_defs if one.is_executable and one.op.name == step)
    declared = {key.to_user_string() for key in made.keys} | {
        parent.to_user_string() for key in made.keys for parent in GRAPH.get(key).parent_keys
    }
    declared |= {table for name in declared for table in STANDS_FOR.get(name, ())}
    read = {AUXILIARY_TABLES.get(table, table) for table in _read_tables(step, set()) & TABLES.keys()}
    assert read <= declared


def test_reads_are_found_through_functions_of_other_modules() -> None:
    """Otherwise the test above would pass for everything."""
    assert "identifier_values" in _read_tables("instruction_sets", set())
    assert {"reports", "scrubbed_reports"} <= _read_tables("drop_duplicates", set())
