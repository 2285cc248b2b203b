"""The reference is complete, and no link is dead. Fails when something new has no place in docs/reference."""

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any, get_args, get_type_hints

import click
import pytest
from pydantic import BaseModel
from starlette.routing import Route as AppRoute

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.settings import PREFIX, Settings
from fine_tune_assets.core.strict_parsing import load_values
from fine_tune_assets.definitions import defs
from fine_tune_assets.desk.routes import ROUTES, Route
from fine_tune_assets.desk.visits import Anybody
from fine_tune_assets.gateway.app import create_app
from fine_tune_assets.ledger.people.api_keys import SCOPES
from fine_tune_assets.ledger.people.users import ROLES
from fine_tune_assets.ledger.schema import metadata
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.reports.unreadable_files import Reason
from fine_tune_assets.tables.catalogue import TABLES

REFERENCE = PROJECT_DIR / "docs" / "reference"
PAGES = sorted(
    [
        *PROJECT_DIR.glob("*.md"),
        *(PROJECT_DIR / "docs").rglob("*.md"),
        *(PROJECT_DIR / "examples").rglob("*.md"),
        PROJECT_DIR / "data" / "README.md",
    ]
)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")


def page(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """From a heading line to the next one of its level or above; empty if there is none."""
    level = len(heading) - len(heading.lstrip("#"))
    after = f"\n{text}".partition(f"\n{heading}\n")[2]
    return re.split(rf"\n#{{1,{level}}} ", after)[0]


def missing(names: Iterator[str] | list[str], text: str) -> list[str]:
    return [name for name in names if f"`{name}`" not in text]


def test_every_asset_check_sensor_and_schedule_is_in_the_reference() -> None:
    """What people see in the Dagster UI they can look up."""
    text, graph, repository = page("assets-and-checks.md"), defs.resolve_asset_graph(), defs.get_repository_def()
    assets = [key.to_user_string() for key in graph.get_all_asset_keys()]
    checks = [key.name for key in graph.asset_check_keys]
    ticking = [definition.name for definition in (*repository.sensor_defs, *repository.schedule_defs)]
    assert len(assets) > 20
    assert checks
    assert missing([*assets, *checks, *ticking], text) == []


def test_every_asset_stands_under_its_own_stage() -> None:
    """The page is the path of the data: an asset in the wrong place misleads."""
    text, graph = page("assets-and-checks.md"), defs.resolve_asset_graph()
    keys = graph.get_all_asset_keys()
    rows = {key.to_user_string(): section(text, f"## {graph.get(key).group_name}") for key in keys}
    assert [name for name, found in rows.items() if f"| `{name}` |" not in found] == []


def test_blocking_checks_are_named_as_blocking() -> None:
    """Whether a check holds up the graph is the first thing that a reader wants to know."""
    text, graph = page("assets-and-checks.md"), defs.resolve_asset_graph()
    for key in graph.asset_check_keys:
        word = "yes" if graph.get_check_spec(key).blocking else "no"
        assert f"| `{key.name}` | `{key.asset_key.to_user_string()}` | {word} |" in text


def test_every_reason_for_quarantine_is_in_the_reference() -> None:
    """A row of unreadable_reports is for people who repair files."""
    assert missing([reason.value for reason in Reason], page("assets-and-checks.md")) == []


def test_every_setting_is_in_the_reference_with_its_variable_and_default() -> None:
    """An installation is made from this page."""
    rows = [line for line in page("settings.md").splitlines() if line.startswith("| `")]
    for name, default in _settings():
        row = next(
            (r for r in rows if r.startswith(f"| `{name}` | `{PREFIX}{name.upper().replace('.', '_')}` |")), None
        )
        assert row is not None, name
        if isinstance(default, bool | int) or name in ("recipe", "gateway.host", "desk.host"):
            assert f"| `{str(default).lower()}` |" in row


def _settings() -> Iterator[tuple[str, Any]]:
    for name, value in Settings():
        if isinstance(value, BaseModel):
            yield from ((f"{name}.{inner}", default) for inner, default in value)
        else:
            yield name, value


def test_every_settings_file_in_the_docs_is_one_that_loads() -> None:
    """It is copied as it stands."""
    blocks = [
        b for path in PAGES for b in re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    ]
    files = [
        values
        for values in map(load_values, map(dedent, blocks))
        if {"data_dir", "desk", "oidc", "notify"} & set(values)
    ]
    assert len(files) >= 4
    for values in files:
        Settings.model_validate(values)


def test_every_recipe_field_is_in_the_reference() -> None:
    """Fields of a section stand under its heading, since names such as batch_size occur twice."""
    text = page("recipe.md")
    for name, kind in get_type_hints(Recipe).items():
        inner = _dataclass_of(kind)
        if inner is None or name == "tasks":
            assert f"| `{name}` |" in text.partition("\n## ")[0]
        if inner is not None:
            heading = next(line for line in text.splitlines() if line.startswith(f"## `{name}`"))
            found = section(text, heading)
            assert [f.name for f in fields(inner) if f"| `{f.name}` |" not in found] == [], name


def _dataclass_of(kind: Any) -> Any:
    if is_dataclass(kind):
        return kind
    return next((inner for inner in get_args(kind) if is_dataclass(inner)), None)


def _leaves(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from _leaves(command, f"{path} {name}")
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield f"{path} {name}", command


@pytest.mark.parametrize(("path", "command"), list(_leaves(main, "fine-tune")), ids=lambda value: str(value))
def test_every_command_is_in_the_reference_with_its_options(path: str, command: click.Command) -> None:
    """A command that nobody can look up is a command that nobody uses."""
    found = section(page("commands.md"), f"### `{path}`")
    assert found.strip(), path
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            assert (parameter.metavar or parameter.name or "").upper() in found
        else:
            assert all(option in found for option in (*parameter.opts, *parameter.secondary_opts))


def test_no_command_is_in_the_reference_that_does_not_exist() -> None:
    """What was removed must not live on in the documentation."""
    documented = set(re.findall(r"^### `(.+)`$", page("commands.md"), re.MULTILINE))
    assert documented == {path for path, _ in _leaves(main, "fine-tune")}


def test_every_gateway_route_and_scope_is_in_the_reference(tmp_path: Path) -> None:
    """And no other: whatever is not listed does not exist."""
    routes = [route for route in create_app(Settings(data_dir=tmp_path)).routes if isinstance(route, AppRoute)]
    listed = {f"{method} {route.path}" for route in routes for method in (route.methods or set()) - {"HEAD"}}
    text = page("gateway.md")
    assert len(listed) >= 5
    assert set(re.findall(r"^\| `((?:GET|POST|PUT|DELETE) \S+)` \|", text, re.MULTILINE)) == listed
    assert missing(list(SCOPES), text) == []


def test_every_route_and_role_of_the_desk_is_in_the_reference() -> None:
    """With exactly the roles that it is for, and no other route: this page is what an auditor reads."""
    rows = dict(re.findall(r"^\| `((?:GET|POST) \S+)` \| ([a-z, ]+) \|", page("desk.md"), re.MULTILINE))
    assert rows == {f"{route.method} {route.path}": _for_whom(route) for route in ROUTES}
    assert missing(list(ROLES), page("desk.md")) == []


def _for_whom(route: Route) -> str:
    if isinstance(route.allowed, Anybody):
        return "anybody"
    return ", ".join(role for role in ROLES if role in route.allowed.roles) or "any user"


def test_every_error_code_of_the_gateway_is_in_the_reference() -> None:
    """Clients branch on codes."""
    source = "".join(p.read_text(encoding="utf-8") for p in (PROJECT_DIR / "fine_tune_assets/gateway").rglob("*.py"))
    codes = set(re.findall(r"""(?:ApiError|_refusal|error_body)\(\s*\d{3}, "([a-z_]+)\"""", source))
    codes |= set(re.findall(r"""\(40[13], "([a-z_]+)\"""", source))
    assert len(codes) > 10
    assert missing(sorted(codes), section(page("gateway.md"), "## Errors")) == []


def test_every_table_is_in_the_reference_with_its_columns() -> None:
    """People read the Parquet files and the ledger themselves."""
    text = page("tables.md")
    tables = {f"## `{name}`": schema.names for name, schema in TABLES.items()}
    ledger = {f"## Ledger: `{name}`": [c.name for c in table.columns] for name, table in metadata.tables.items()}
    for heading, columns in {**tables, **ledger}.items():
        assert columns == re.findall(r"^\| `(\w+)` \|", section(text, heading), re.MULTILINE), heading


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.relative_to(PROJECT_DIR).as_posix())
def test_no_relative_link_is_dead(path: Path) -> None:
    """File and heading: a link that leads nowhere costs a reader's trust."""
    for target, anchor in _LINK.findall(path.read_text(encoding="utf-8")):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in _anchors(found), f"{target} has no heading #{anchor}"


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_lists_every_page() -> None:
    """What is not in it is found by nobody who looks for it."""
    docs = PROJECT_DIR / "docs"
    index = (docs / "README.md").read_text(encoding="utf-8")
    pages = [path.relative_to(docs).as_posix() for path in docs.glob("*/*.md")]
    assert [page for page in sorted(pages) if f"({page})" not in index] == []


def test_every_make_target_that_the_readme_and_contributing_name_exists() -> None:
    """The quick start is followed word for word."""
    makefile = (PROJECT_DIR / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (PROJECT_DIR / name).read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
        assert named, name
        assert named - targets == set(), name


def test_every_command_that_a_page_tells_to_run_exists() -> None:
    """Of `.venv/bin/fine-tune …` and `fine-tune …` in all pages: the words up to the first option or argument."""
    paths = {path for path, _ in _leaves(main, "fine-tune")}
    groups = {path.rsplit(" ", 1)[0] for path in paths}
    for path in PAGES:
        for words in re.findall(
            r"fine-tune((?: [a-z]+(?:-[a-z]+)*)+)", "\n".join(_code(path.read_text(encoding="utf-8")))
        ):
            first_two = [f"fine-tune {' '.join(words.split()[:count])}" for count in (1, 2)]
            assert any(command in paths for command in first_two) or first_two[0] in groups, f"{path.name}: {words}"


def _code(text: str) -> list[str]:
    return [*re.findall(r"```sh\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)]
