"""Cases and their signing."""

import html
import re
from collections.abc import Callable
from typing import Any

import pytest

from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import COMPLAINTS, drafts_of

Ward = Callable[..., Site]
COPIES = 5


@pytest.fixture
def site(ward: Ward) -> Site:
    made = ward(count=COPIES * len(COMPLAINTS))
    for name, role in (("Reviewer One", "reviewer"), ("Reviewer Two", "reviewer"), ("Approver One", "approver")):
        made.add(name, role)
    return made


def cases_with(site: Site, output: str) -> list[dict[str, Any]]:
    return [draft for draft in drafts_of(site.settings) if draft["output"] == output]


def path_of(draft: dict[str, Any]) -> str:
    return f"/items/{draft['example_id']}/identical"


def read_form(page: str) -> dict[str, str]:
    """The hidden fields of the page: version and fingerprint of each case."""
    return dict(re.findall(r'type="hidden" name="((?:version|signed)_\w+)" value="(\w+)"', page))


def sign(visitor: Visitor, draft: dict[str, Any], read: list[str], **changes: Any) -> Any:
    """Open the page of the cases and sign those in `read`, with every flag checked."""
    page = visitor.get(path_of(draft)).text
    flags = [html.unescape(flag) for flag in re.findall(r'name="acknowledged" value="([^"]*)"', page)]
    form: dict[str, Any] = {**read_form(page), "read": read, "acknowledged": flags, "meaning": "approve", **changes}
    return visitor.post(f"{path_of(draft)}/decide", form, page="/account")
