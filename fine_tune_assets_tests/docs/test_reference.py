"""The reference pages are what the code says now, the hand-written ones are complete, and no link is dead."""

import importlib.util
import re
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
from fine_tune_assets.core.permissions import ROLES, SCOPES
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.core.strict_parsing import load_values
from fine_tune_assets.definitions import defs
from fine_tune_assets.desk.desk_app import HEALTH_PATH
from fine_tune_assets.desk.request_context import PublicAccess
from fine_tune_assets.desk.routes import ROUTES, Route
from fine_tune_assets.gateway.gateway_app import create_app
from fine_tune_assets.recipes.schema import Recipe
from fine_tune_assets.reports.unreadable_files import UnreadableReason
from fine_tune_assets.retrieval.documents import DocumentFault
from fine_tune_assets.tables.asset_tables import RECORDS

_spec = importlib.util.spec_from_file_location("generate_reference", PROJECT_DIR / "docs" / "generate_reference.py")
assert _spec is not None
assert _spec.loader is not None
generator = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generator)

REFERENCE = PROJECT_DIR / "docs" / "reference"
GENERATED_PAGES = REFERENCE / "generated"
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


def missing(names: list[str], text: str) -> list[str]:
    return [name for name in names if f"`{name}`" not in text]


GENERATED = generator.build_pages()


@pytest.mark.parametrize(("name", "text"), GENERATED.items(), ids=map(str, GENERATED))
def test_a_generated_page_is_what_the_code_says(name: Path, text: str) -> None:
    """People look up names and defaults there. `make reference` writes the pages again."""
    assert (GENERATED_PAGES / name).read_text(encoding="utf-8") == text, "run `make reference`"


def test_every_table_page_belongs_to_a_table() -> None:
    """A page of a stage that was renamed would describe tables that no longer exist."""
    written = {GENERATED_PAGES / name for name in GENERATED}
    assert set(GENERATED_PAGES.rglob("*.md")) == written | {GENERATED_PAGES / "model-families.md"}


def test_every_asset_check_sensor_and_schedule_has_a_description() -> None:
    """People who do not program read them in the Dagster UI and in the reference."""
    graph, repository = defs.resolve_asset_graph(), defs.get_repository_def()
    described = {key.to_user_string(): graph.get(key).description for key in graph.get_all_asset_keys()}
    described |= {key.name: graph.get_check_spec(key).description for key in graph.asset_check_keys}
    described |= {one.name: one.description for one in (*repository.sensor_defs, *repository.schedule_defs)}
    assert len(described) > 50
    assert [name for name, description in described.items() if not (description or "").strip()] == []


def test_every_table_and_column_has_a_description() -> None:
    """People read the Parquet files themselves."""
    assert [name for name, record in RECORDS.items() if not record.__doc__] == []
    columns = {f"{name}.{field.name}": field.metadata for name, record in RECORDS.items() for field in record.SCHEMA}
    assert [column for column, metadata in columns.items() if not (metadata or {}).get(b"description")] == []


def _documented_models() -> dict[str, type]:
    """Settings, recipe and their parts, by the name of the class and its module."""
    found: list[type] = [Settings, *(type(value) for _, value in Settings() if isinstance(value, BaseModel)), Recipe]
    for model in found:
        if is_dataclass(model):
            found += [part for hint in get_type_hints(model, include_extras=True).values() for part in _parts(hint)]
    return {f"{model.__module__}.{model.__name__}": model for model in found}


def _parts(hint: Any) -> list[type]:
    if isinstance(hint, type) and is_dataclass(hint):
        return [hint]
    return [part for inner in get_args(hint) for part in _parts(inner)]


def _is_section(hint: Any) -> bool:
    return bool(_parts(hint)) or (isinstance(hint, type) and issubclass(hint, BaseModel))


@pytest.mark.parametrize("model", _documented_models().values(), ids=_documented_models())
def test_every_setting_and_recipe_field_is_described_in_one_short_sentence(model: type) -> None:
    """It is all that an operator reads; what needs more belongs in a how-to guide."""
    assert model.__doc__
    docs, hints = generator.field_docs(model), get_type_hints(model, include_extras=True)
    names = [field.name for field in fields(model)] if is_dataclass(model) else list(model.model_fields)  # type: ignore[attr-defined]
    described = {name: docs[name] for name in names if not _is_section(hints[name]) or docs[name]}
    assert [name for name, text in described.items() if not text.endswith(".") or ". " in text] == []
    assert [name for name, text in described.items() if len(text.split()) > 20] == []


def test_every_command_has_a_help_text() -> None:
    """The reference shows it, and so does `--help`."""

    def leaves(command: click.Command, path: str) -> list[tuple[str, click.Command]]:
        if not isinstance(command, click.Group):
            return [(path, command)]
        context = click.Context(command)
        inner = {name: command.get_command(context, name) for name in command.list_commands(context)}
        return [leaf for name, one in inner.items() if one is not None for leaf in leaves(one, f"{path} {name}")]

    commands = leaves(main, "fine-tune")
    assert len(commands) > 40
    assert [path for path, command in commands if not command.help] == []


def test_every_reason_why_something_is_unreadable_is_in_the_reference() -> None:
    """A row of unreadable_reports or unreadable_documents is for people who repair files."""
    text = page("unreadable-files.md")
    assert missing([reason.value for reason in UnreadableReason], section(text, "## Reports")) == []
    assert missing([fault.value for fault in DocumentFault], section(text, "## Documents")) == []


def test_every_settings_file_in_the_docs_loads() -> None:
    """Users copy it unchanged."""
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
    listed = {f"{route.method} {route.path}": _for_whom(route) for route in ROUTES}
    assert rows == {**listed, f"GET {HEALTH_PATH}": "anybody"}
    assert missing(list(ROLES), page("generated/permissions.md")) == []


def _for_whom(route: Route) -> str:
    if isinstance(route.access, PublicAccess):
        return "anybody"
    return ", ".join(role for role in ROLES if role in (route.access.roles or ())) or "any user"


def test_every_error_code_of_the_gateway_is_in_the_reference() -> None:
    """Clients branch on codes."""
    source = "".join(p.read_text(encoding="utf-8") for p in (PROJECT_DIR / "fine_tune_assets/gateway").rglob("*.py"))
    codes = set(re.findall(r"""(?:ApiError|_refusal|error_body)\(\s*\d{3}, "([a-z_]+)\"""", source))
    codes |= set(re.findall(r"""\(40[13], "([a-z_]+)\"""", source))
    assert len(codes) > 10
    assert missing(sorted(codes), section(page("gateway.md"), "## Errors")) == []


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
    """A page that the index does not name is hard to find. The table pages have a separate index."""
    docs = PROJECT_DIR / "docs"
    for index in (docs / "README.md", GENERATED_PAGES / "tables" / "README.md"):
        text, folder = index.read_text(encoding="utf-8"), index.parent
        pages = [path.relative_to(folder).as_posix() for path in folder.rglob("*.md") if path != index]
        if folder == docs:
            pages = [
                path
                for path in pages
                if not path.startswith("reference/generated/tables/") or path.endswith("README.md")
            ]
        assert [page for page in sorted(pages) if not re.search(rf"\({re.escape(page)}[)#]", text)] == []


def test_every_make_target_that_the_readme_and_contributing_name_exists() -> None:
    """The quick start is followed word for word."""
    makefile = (PROJECT_DIR / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (PROJECT_DIR / name).read_text(encoding="utf-8")
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
        assert named, name
        assert named - targets == set(), name
