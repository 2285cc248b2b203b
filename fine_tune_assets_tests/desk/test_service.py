"""The desk as `make up` runs it: a separate process on loopback, whose log contains no text and no token."""

import httpx

from fine_tune_assets.cli.user_commands import create_link
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.serving.services import log_file, read_service_states, start_services, stop_services
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.desk.installation import drafts_of, fill
from fine_tune_assets_tests.desk.sign_in_links import LINK, token_of, use
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger


def test_it_starts_answers_logs_no_text_and_stops(settings: Settings) -> None:
    """From the settings in its environment alone; a one-time link is used, and refused after that."""
    ledger = fresh_ledger(settings)
    own = changed(fill(settings, ledger), dagster={"home": settings.data_dir})
    site = Site(own, ledger)
    site.add("Reviewer One", "reviewer")
    site.add("Operator One", "operator")
    try:
        start_services(own, ["desk"])
        assert [state.name for state in read_service_states(own) if state.is_up] == ["desk"]
        first = drafts_of(own)[0]
        assert site.signed_in("Reviewer One").approve(first, "Zyxomarkwort in the output.").status_code == 303
        code = token_of(create_link(own, "Operator One"))
        assert [use(site, code).status_code for _ in range(2)] == [303, 401]
        assert "server" not in httpx.get(f"{site.url}/health", trust_env=False).headers
    finally:
        stop_services(own, ["desk"])
        ledger.close()
    assert not any(state.is_running for state in read_service_states(own))
    log = log_file(own, "desk").read_text(encoding="utf-8")
    assert f"POST /items/{first['example_id']}/decide" in log
    assert "Zyxomarkwort" not in log
    assert "form_token" not in log
    assert f"POST {LINK}" in log
    logs = [path.read_bytes() for path in own.layout.run.rglob("*") if path.is_file()]
    assert not any(code.encode() in content for content in logs)
