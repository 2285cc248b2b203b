"""The templates, and what every one of them may call."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fine_tune_assets.core.people import is_same_person
from fine_tune_assets.desk.static_files import static_address


@cache
def make_environment() -> Environment:
    """The templates, compiled once for each process."""
    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["static"] = static_address
    environment.filters["day"] = lambda at: f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"
    environment.filters["ago"] = ago
    environment.tests["same_person"] = is_same_person
    # Compiled before somebody asks: the first one would wait for it.
    for name in environment.list_templates():
        environment.get_template(name)
    return environment


def ago(at: datetime, now: datetime) -> str:
    """Age for people: "4 min", "3 h", "12 days"."""
    minutes = max(0, int((now - at).total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} days"
