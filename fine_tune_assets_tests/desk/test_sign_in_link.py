"""One-time links: each signs in its user once and never appears in a log."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from playwright.sync_api import Page, expect

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.cli.main import main
from fine_tune_assets.cli.user_commands import LinkError, UserCommandError, create_link
from fine_tune_assets.core.settings import PREFIX, Settings
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.ledger_errors import LedgerError
from fine_tune_assets.ledger.ledger_tables import sign_in_links
from fine_tune_assets.ledger.people.sessions import LINK_MINUTES, issue_link, redeem_link
from fine_tune_assets.ledger.people.users import FIRST_USER, create_user, disable_user, find_user
from fine_tune_assets_tests.desk.accessibility import check, look
from fine_tune_assets_tests.desk.conftest import PASSWORD, Site
from fine_tune_assets_tests.desk.sign_in_links import LINK, token_of, use

__all__ = ["look"]


def test_a_link_opens_the_desk_once_with_the_rights_of_its_user(site: Site) -> None:
    """The first use signs in; the second is refused, and so is the first link after a second one was issued."""
    old, new = token_of(create_link(site.settings)), token_of(create_link(site.settings))
    assert use(site, old).status_code == 401
    visitor = site.visitor()
    used = visitor.post(LINK, {"code": new}, page=LINK)
    assert (used.status_code, used.headers["location"]) == (303, "/")
    assert visitor.get("/queue").status_code == 200
    assert visitor.get("/audit").status_code == 403
    assert use(site, new).status_code == 401


def test_opening_the_page_does_not_use_up_the_link(site: Site) -> None:
    """Link previews and prefetches request the page without the fragment."""
    code = token_of(create_link(site.settings))
    for _ in range(3):
        assert site.visitor().get(LINK).status_code == 200
    assert use(site, code).status_code == 303


def test_a_form_from_another_site_does_not_sign_in(site: Site) -> None:
    """Otherwise another site could sign a browser in under a name of its choice."""
    code, visitor = token_of(create_link(site.settings)), site.visitor()
    headers = {"origin": "http://elsewhere.example", "sec-fetch-site": "cross-site"}
    assert visitor.post(LINK, {"code": code}, page=LINK, headers=headers).status_code == 403
    assert visitor.client.post(LINK, data={"code": code}, headers={"origin": site.url}).status_code == 403
    assert use(site, code).status_code == 303


def test_wrong_links_block_no_valid_one(site: Site) -> None:
    """A limit on wrong links would lock out everybody who has a valid one; no one guesses 256 random bits."""
    code, visitor = token_of(create_link(site.settings)), site.visitor()
    form = {"form_token": visitor.token(LINK)}
    for number in range(12):
        sent = visitor.client.post(LINK, data={**form, "code": f"wrong-{number}"}, headers={"origin": site.url})
        assert sent.status_code == 401
    assert use(site, code).status_code == 303


def test_a_link_is_valid_for_minutes_only(site: Site) -> None:
    site.add("Someone", "reviewer")
    now = datetime.now(UTC)
    minute = timedelta(minutes=1)
    code = issue_link(site.ledger, "Someone", now=now)
    assert redeem_link(site.ledger, code, now=now + LINK_MINUTES * minute) is None
    code = issue_link(site.ledger, "Someone", now=now)
    used = redeem_link(site.ledger, code, now=now + (LINK_MINUTES - 1) * minute)
    assert used is not None
    assert used.name == "Someone"
    assert use(site, issue_link(site.ledger, "Someone", now=now - LINK_MINUTES * minute)).status_code == 401


def test_a_disabled_user_gets_no_link_and_an_earlier_one_is_refused(site: Site) -> None:
    site.add("Operator", "operator")
    site.add("Gone", "reviewer")
    code = issue_link(site.ledger, "Gone", now=datetime.now(UTC))
    disable_user(site.ledger, "Gone", now=datetime.now(UTC))
    assert use(site, code).status_code == 401
    with pytest.raises(LedgerError, match="disabled"):
        issue_link(site.ledger, "Gone", now=datetime.now(UTC))


def test_the_ledger_stores_no_token_and_the_audit_log_records_each_link_and_its_use(site: Site) -> None:
    """A reader of a ledger backup can't sign in with it."""
    code = token_of(create_link(site.settings))
    with site.ledger.read() as connection:
        rows = str(connection.execute(sa.select(sign_in_links)).all())
    assert code not in rows
    assert use(site, code).status_code == 303
    lines = [(line.actor, line.action, line.resource) for line in audit.list_entries(site.ledger)]
    assert (operating_system_user(), "issued a sign-in link", f"user {FIRST_USER}") in lines
    assert (FIRST_USER, "signed in", "by a one-time link") in lines
    assert code not in str(lines)


def test_the_first_user_is_created_only_if_there_are_no_users(settings: Settings) -> None:
    """Printing a link never adds a user to an installation that has users."""
    ledger = open_ledger(settings)
    create_user(ledger, "Chief", ["operator"], password=PASSWORD, oidc_identity=None, now=datetime.now(UTC))
    with pytest.raises(LinkError, match="users link NAME"):
        create_link(settings)
    assert token_of(create_link(settings, "chief"))
    with pytest.raises(UserCommandError):
        create_link(settings, FIRST_USER)
    ledger.close()


def test_the_first_user_may_not_sign_a_verdict_and_has_no_password(settings: Settings) -> None:
    """The user need not choose a password, and there is none to guess."""
    create_link(settings)
    ledger = open_ledger(settings)
    user = find_user(ledger, FIRST_USER)
    ledger.close()
    assert user.roles == ("reviewer", "operator")
    assert not user.has_password


def test_the_command_prints_the_link_alone_on_its_first_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{PREFIX}DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv(f"{PREFIX}DESK_PORT", str(settings.desk.port))
    done = CliRunner().invoke(main, ["users", "link"])
    assert done.exit_code == 0
    assert re.fullmatch(rf"http://127\.0\.0\.1:{settings.desk.port}/sign-in/link#[\w-]{{43}}\n", done.stdout)


def test_in_a_browser_the_button_signs_in_and_the_token_leaves_the_address(page: Page, site: Site) -> None:
    """Neither the history nor later requests contain the token."""
    sent: list[str] = []
    page.on("request", lambda request: sent.append(f"{request.url} {request.headers.get('referer', '')}"))
    address = create_link(site.settings)
    page.goto(address)
    expect(page).to_have_url(f"{site.url}{LINK}")
    expect(page.get_by_label("The part of the link after #")).to_be_hidden()
    page.get_by_role("button", name="Open the desk").click()
    page.get_by_role("button", name="Sign out").wait_for()
    asked = [line for line in sent if token_of(address) in line]
    assert asked in ([], [f"{address} "])  # the typed address, never the redirected one


@pytest.mark.slow
def test_the_page_of_a_link_is_accessible_in_every_look(look: Page, serve: Callable[..., Site]) -> None:
    site = serve()
    look.goto(site.url + LINK)
    check(look, "link")
    look.get_by_label("The part of the link after #").fill("wrong")
    look.get_by_role("button", name="Open the desk").click()
    look.get_by_role("alert").wait_for()
    check(look, "refused link")
