"""One desk for several product lines: each has its own users, sessions and queue, and none sees another one's."""

import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import pytest
from fastapi import FastAPI
from starlette.responses import Response

from fine_tune_assets.cli.user_commands import create_link
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.line_names import MAIN_LINE
from fine_tune_assets.core.permissions import ROLES
from fine_tune_assets.core.settings import Settings, select_line
from fine_tune_assets.desk.desk_app import create_app_of_all_lines
from fine_tune_assets.desk.desk_context import open_desk
from fine_tune_assets.desk.line_dispatch import LineDispatch
from fine_tune_assets.desk.origins import read_addresses
from fine_tune_assets.desk.routes import ROUTES, list_menu_entries
from fine_tune_assets.recipes.domain_packs import shipped_packs
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.conftest import Site, Visitor
from fine_tune_assets_tests.desk.installation import drafts_of, write_recipe
from fine_tune_assets_tests.desk.two_lines import LAW, TwoLines, add_line, serving_lines
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import start_app

REVIEWER = "Reviewer One"


@pytest.fixture
def lines(settings: Settings) -> Iterator[TwoLines]:
    with serving_lines(settings) as found:
        yield found


def go_to(visitor: Visitor, line: str, following: str = "") -> httpx.Response:
    return visitor.get(f"/lines/{line}{following}")


def shown_line(page: httpx.Response) -> str:
    """The line that a page names in its title."""
    title = re.search("<title>(.+)</title>", page.text)
    assert title is not None
    return title[1].split(" · ")[1]


def test_a_person_signs_in_at_each_line_and_stays_signed_in_at_both(lines: TwoLines) -> None:
    """The same name can have other roles and another password at each line."""
    lines.main.add(REVIEWER, "reviewer")
    lines.law.add(REVIEWER, "auditor")
    visitor = lines.main.signed_in(REVIEWER)
    assert shown_line(visitor.get("/account")) == MAIN_LINE
    go_to(visitor, LAW)
    assert visitor.get("/account").headers["location"] == "/sign-in?next=/account"
    assert visitor.sign_in(REVIEWER).status_code == 303
    assert (visitor.get("/audit").status_code, visitor.get("/queue").status_code) == (200, 403)
    go_to(visitor, MAIN_LINE)
    assert (visitor.get("/audit").status_code, visitor.get("/queue").status_code) == (403, 200)
    visitor.post("/sign-out", {}, page="/account")
    go_to(visitor, LAW)
    assert visitor.get("/audit").status_code == 200


def test_a_reviewer_of_one_line_is_unknown_at_the_other_and_never_sees_its_queue(lines: TwoLines) -> None:
    """Reports of one line are confidential to the people of the other."""
    lines.main.add(REVIEWER, "reviewer")
    lines.law.add("Reviewer Two", "reviewer")
    first, second = lines.main.signed_in(REVIEWER), lines.main.visitor()
    go_to(second, LAW)
    assert second.sign_in(REVIEWER).status_code == 401
    assert second.sign_in("Reviewer Two").status_code == 303
    own, foreign = drafts_of(lines.main.settings), drafts_of(lines.law.settings)
    assert "4 " in first.get("/").text
    only_law = {row["example_id"] for row in foreign} - {row["example_id"] for row in own}
    assert only_law
    shown = second.get("/queue").text
    assert all(example in shown for example in only_law)
    for example in only_law:
        assert example not in first.get("/queue").text
        assert first.get(f"/items/{example}").status_code in (404, 409, 410)
    go_to(first, LAW)
    for path in ("/", "/queue", f"/items/{min(only_law)}"):
        assert first.get(path).headers["location"].startswith("/sign-in?")


@pytest.mark.parametrize("name", ["finance", "LAW", "law2", "..%2Flaw", "main%00"])
def test_an_unknown_line_is_not_found_and_its_cookie_means_the_main_line(lines: TwoLines, name: str) -> None:
    """A line that was removed must not lock its users' browsers out."""
    visitor = lines.main.visitor()
    reply = go_to(visitor, name)
    assert (reply.status_code, reply.headers.get("set-cookie", "")[:9]) in [(404, ""), (404, "desk-brow")]
    visitor.client.cookies.set(read_addresses(lines.main.settings).line_cookie, name)
    assert shown_line(visitor.get("/sign-in")) == MAIN_LINE


@pytest.mark.parametrize(
    ("following", "location"),
    [
        ("", "/"),
        ("?next=/verdicts/1", "/verdicts/1"),
        ("?next=/dagster/runs%3Fview%3Dall", "/dagster/runs?view=all"),
        ("?next=//elsewhere.example", "/"),
        ("?next=https://elsewhere.example", "/"),
        ("?next=/%5Celsewhere.example", "/"),
    ],
)
def test_the_address_of_a_line_leads_to_a_page_of_it_and_never_to_another_site(
    lines: TwoLines, following: str, location: str
) -> None:
    """Notifications link to it."""
    visitor = lines.main.visitor()
    reply = go_to(visitor, LAW, following)
    assert (reply.status_code, reply.headers["location"]) == (303, location)
    assert shown_line(visitor.get("/sign-in")) == LAW


@pytest.mark.parametrize(
    ("url", "own", "shared"),
    [
        ("", "desk-law-session-", "desk-line-"),
        ("https://desk.clinic.example", "__Host-desk-law-session", "__Host-desk-line"),
    ],
)
def test_each_line_has_cookies_of_its_own_with_the_attributes_of_the_others(
    settings: Settings, url: str, own: str, shared: str
) -> None:
    """With TLS: `__Host-` and Secure. Only the cookie that names the line is the same for all."""
    base = changed(settings, desk={"url": url})
    main, law = (read_addresses(changed(base, line=line)) for line in ("", LAW))
    assert law.cookie_name("session").startswith(own)
    assert law.line_cookie == main.line_cookie
    assert main.line_cookie.startswith(shared)
    names = [where.cookie_name(name) for where in (main, law) for name in ("session", "browser", "oidc", "line")]
    assert len(set(names)) == 8
    response = Response()
    main.set_line_cookie(response, LAW)
    parts = {part.strip().split("=")[0].lower() for part in response.headers["set-cookie"].split(";")[1:]}
    assert parts >= {"path", "httponly", "samesite", "max-age"}
    assert ("secure" in parts) == bool(url)
    assert "domain" not in parts


def test_a_form_token_of_one_line_is_worth_nothing_at_another(lines: TwoLines) -> None:
    """A form of another tab must not reach the wrong line. What was typed is shown again, with a warning."""
    visitor = lines.main.visitor()
    for site, line in ((lines.law, LAW), (lines.main, MAIN_LINE)):
        site.add("Operator One", "operator")
        go_to(visitor, line)
        assert visitor.sign_in("Operator One").status_code == 303
    go_to(visitor, LAW)
    token = visitor.token("/users")
    go_to(visitor, MAIN_LINE)
    added = {"name": "Some Body", "role": "reviewer", "form_token": token}
    reply = visitor.client.post("/users", data=added, headers={"origin": visitor.url})
    assert (reply.status_code, shown_line(reply)) == (403, MAIN_LINE)
    assert 'class="note warn"' in reply.text
    for line in (LAW, MAIN_LINE):
        go_to(visitor, line)
        assert "Some Body" not in visitor.get("/users").text


def test_the_keys_of_the_lines_differ(lines: TwoLines) -> None:
    """Form tokens, sign-in cookies and marked identifiers of one line are not valid at the other."""
    desks = [open_desk(site.settings, list_menu_entries) for site in (lines.main, lines.law)]
    for desk in desks:
        desk.ledger.close()
    assert len({key for desk in desks for key in (desk.key, desk.form_key, desk.sign_in_key)}) == 6


def test_scripts_of_an_open_page_stay_at_the_line_of_their_page(lines: TwoLines) -> None:
    """Otherwise an open home page of one line would show the figures of the line that another tab switched to."""
    lines.main.add(REVIEWER, "reviewer")
    lines.law.add(REVIEWER, "reviewer")
    visitor = lines.main.signed_in(REVIEWER)
    go_to(visitor, LAW)
    visitor.sign_in(REVIEWER)
    page = visitor.get("/").text
    assert '"x-line": "law"' in page
    go_to(visitor, MAIN_LINE)
    fragment = {"hx-request": "true"}
    shown = {line: visitor.get("/queue", headers={"x-line": line}).text for line in (LAW, MAIN_LINE)}
    assert shown[MAIN_LINE] == visitor.get("/queue").text != shown[LAW]
    assert visitor.get("/overview", headers={**fragment, "x-line": "finance"}).status_code == 200


def test_pages_show_the_lines_by_name_only(lines: TwoLines) -> None:
    """The switch is on every page of a signed-in person, and on the sign-in page."""
    lines.main.add("All Roles", *ROLES)
    visitor = lines.main.visitor()
    for page in (visitor.get("/sign-in"), lines.main.signed_in("All Roles").get("/")):
        assert re.findall(r'href="(/lines/\w+)"', page.text) == ["/lines/main", "/lines/law"]
        assert len(re.findall(r"\blaw\b", page.text)) == 2  # of the link: address and text
    assert "/lines/" not in visitor.get("/nothing").text
    assert "fine-tune users add" in visitor.get("/sign-in").text
    go_to(visitor, LAW)
    assert "fine-tune --line law users add" in visitor.get("/sign-in").text


def test_a_one_time_link_opens_the_line_of_its_user(lines: TwoLines) -> None:
    """Browsers keep the token, which is in the fragment, through the redirect."""
    address = urlsplit(create_link(lines.law.settings))
    assert (address.path, address.query) == ("/lines/law", "next=/sign-in/link")
    visitor = lines.main.visitor()
    path = visitor.get(f"{address.path}?{address.query}").headers["location"]
    used = visitor.post(path, {"code": address.fragment}, page=path)
    assert used.status_code == 303
    assert shown_line(visitor.get("/")) == LAW
    assert urlsplit(create_link(lines.main.settings)).path == "/lines/main"


def test_links_of_an_installation_with_one_line_name_no_line(settings: Settings) -> None:
    assert settings.desk_page_url("/verdicts/1") == f"{settings.desk_address}/verdicts/1"
    assert settings.asset_url("reports") == f"{settings.desk_address}/dagster/assets/reports"
    add_line(settings, LAW, count=1)
    law = select_line(settings, LAW)
    assert settings.asset_url("reports").endswith("/lines/main?next=/dagster/assets/reports")
    assert law.asset_url("reports").endswith("/lines/law?next=/dagster/assets/law/reports")


def test_with_one_line_the_desk_is_the_application_of_the_main_line(settings: Settings) -> None:
    """No dispatcher, no switch and no other cookies."""
    with closing(fresh_ledger(settings)):
        app = create_app_of_all_lines(settings)
    assert isinstance(app, FastAPI)
    assert len([route for route in app.routes if getattr(route, "path", "") == "/lines/{name}"]) == 1
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)


@pytest.mark.parametrize("fault", ["settings", "ledger", "key"])
def test_a_line_that_cannot_be_opened_is_reported_and_left_out(
    settings: Settings, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    """The people of the other lines go on working."""
    for name in (LAW, "finance"):
        add_line(settings, name, count=1)
    broken = select_line(settings, "finance")
    if fault == "settings":
        write_text(broken.data_dir / "line.yaml", "recipe: demo_smollm2\nthreads: many\n")
    elif fault == "ledger":
        (broken.data_dir / "ledger" / "ledger.db").write_bytes(b"no database" * 1000)
    else:
        shutil.rmtree(broken.layout.keys)
        broken.layout.keys.write_text("no folder")
    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        app = create_app_of_all_lines(settings)
    assert isinstance(app, LineDispatch)
    assert list(app._lines) == [MAIN_LINE, LAW]
    (message,) = [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]
    assert "finance" in message


def test_a_line_reads_domain_packs_of_the_installation(settings: Settings) -> None:
    """A recipe of a line can name a pack that the main line's recipe does not name."""
    line = add_line(settings, LAW, count=1)
    shutil.copytree(shipped_packs()["clinical"], settings.data_dir / "own_pack")
    write_recipe(line.data_dir, {}, domain="own_pack")
    with closing(fresh_ledger(line)) as ledger:
        law = Site(line, ledger)
        law.add("Auditor One", "auditor")
        stop = start_app(create_app_of_all_lines(settings), settings.desk.port)
        visitor = law.visitor()
        go_to(visitor, LAW)
        visitor.sign_in("Auditor One")
        assert visitor.get("/subjects").status_code == 200
        stop()
