"""The ask page: answers come through the gateway on behalf of the user, nothing is stored, and corrections are recorded once."""

import json
import logging
import re
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.gateway_client import KEY_FILE, GatewayClient
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.audit import audit_log as audit
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.ledger_tables import answer_feedback, request_entries
from fine_tune_assets.ledger.people.api_keys import list_keys, revoke_key
from fine_tune_assets.ledger.people.users import find_user
from fine_tune_assets.ledger.reviews.correction_records import list_corrections
from fine_tune_assets.retrieval.index_build import remove_index
from fine_tune_assets.retrieval.lance_store import LanceStore
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.conftest import Site, Visitor, start_desk
from fine_tune_assets_tests.desk.pages.ask_forms import form_of
from fine_tune_assets_tests.desk.scripted_engine import Speaker, asking
from fine_tune_assets_tests.gateway.answers.document_house import CONTRACT, FILES
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.retrieval.live_index import go_live
from fine_tune_assets_tests.retrieval.small_index import LEAVE, SALARIES, VISITS, document

MARKER = "Zyxomarkwort"


@dataclass
class Asker:
    """A signed-in user of one test only."""

    name: str
    site: Site
    visitor: Visitor

    def post(self, path: str, form: dict[str, object], **options: Any) -> httpx.Response:
        return self.visitor.post(path, form, page="/ask", **options)

    @property
    def corrections(self) -> list[Any]:
        key = read_or_create_key(self.site.settings.layout.keys, KEY_NAME)
        return [kept for kept in list_corrections(self.site.ledger, key) if kept.author == self.name]


@contextmanager
def running(folder: Path, files: dict[str, str]) -> Iterator[tuple[Site, Speaker]]:
    settings = Settings(data_dir=folder / "data", desk={"port": free_port()})
    with asking(settings, folder / "e.sock", files) as (own, speaker):
        ledger, stop = fresh_ledger(own), start_desk(own)
        try:
            yield Site(own, ledger), speaker
        finally:
            stop()
            ledger.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Speaker]]:
    with running(tmp_path_factory.mktemp("world"), {}) as found:
        yield found


@pytest.fixture
def site(world: tuple[Site, Speaker]) -> Site:
    return world[0]


@pytest.fixture
def speaker(world: tuple[Site, Speaker]) -> Speaker:
    world[1].asked.clear()
    world[1].pieces = Speaker().pieces
    return world[1]


@pytest.fixture
def asker(site: Site) -> Asker:
    return asker_at(site)


def asker_at(site: Site) -> Asker:
    name = f"Zoë {uuid.uuid4().hex[:8]}"
    site.add(name, "user")
    return Asker(name, site, site.signed_in(name))


def ask(asker: Asker, question: str = "What is it?", **fields: str) -> str:
    reply = asker.post("/ask", {"question": question, **fields})
    assert reply.status_code == 200, reply.text
    return reply.text


def test_an_answer_comes_through_the_gateway_in_the_askers_name(site: Site, asker: Asker, speaker: Speaker) -> None:
    """Without scripts too. The log of requests names the key and the person."""
    shown = ask(asker)
    assert "A cough, since Monday." in shown
    assert speaker.release_id in shown
    assert speaker.asked == ["What is it?"]
    with site.ledger.read() as connection:
        who = connection.execute(request_entries.select()).mappings().all()[-1]["caller"]
    (key,) = list_keys(site.ledger)
    assert who == f"key:{key.key_id} for {asker.name}"
    assert key.scopes == ("chat", "correct", "on_behalf_of", "on_behalf_of_any_label")


def test_a_task_is_asked_as_it_was_trained_and_corrected_as_that_task(asker: Asker, speaker: Speaker) -> None:
    """Its corrections then belong to that task instead of a new one."""
    shown = ask(asker, "He coughs.", task="name_section")
    instruction = "Name the section of the note."
    assert speaker.asked == [f"{instruction}\n\nHe coughs."]
    asker.post("/ask/correct", form_of(shown))
    (kept,) = asker.corrections
    assert (kept.instruction, kept.input) == (instruction, "He coughs.")


def test_the_desks_key_is_made_once_for_its_user_alone(site: Site, asker: Asker) -> None:
    ask(asker)
    ask(asker)
    path = site.settings.layout.keys / KEY_FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(list_keys(site.ledger)) == 1
    path.unlink()  # lost: the same key gets another secret
    ask(asker)
    assert len(list_keys(site.ledger)) == 1
    revoke_key(site.ledger, list_keys(site.ledger)[0].key_id)
    reply = asker.post("/ask", {"question": MARKER})
    assert (reply.status_code, "fine-tune keys revoke" in reply.text, MARKER in reply.text) == (502, True, True)
    path.chmod(0o644)
    reply = asker.post("/ask", {"question": MARKER})
    assert (reply.status_code, "chmod 600" in reply.text, MARKER in reply.text) == (502, True, True)
    path.unlink()
    ask(asker)
    assert [key.revoked_at is None for key in list_keys(site.ledger)] == [False, True]


def test_a_correction_is_kept_once_with_who_and_what(asker: Asker, speaker: Speaker) -> None:
    """A second click or a reload records no second one; another text must be sent twice."""
    form = form_of(ask(asker))
    for _ in range(2):
        reply = asker.post("/ask/correct", form)
        assert (reply.status_code, asker.corrections[-1].correction_id in reply.text) == (200, True)
    (kept,) = asker.corrections
    assert (kept.author, kept.release_id, kept.answer) == (asker.name, speaker.release_id, "A cough, since Monday.")
    assert (kept.corrected_answer, kept.error_kind, kept.severity) == ("A cough.", "wrong_fact", "low")
    reply = asker.post("/ask/correct", form | {"corrected_answer": "Fever."})
    assert (reply.status_code, 'role="alert"' in reply.text) == (409, True)
    assert len(asker.corrections) == 1
    again = form_of(reply.text) | {"corrected_answer": "Fever."}
    assert asker.post("/ask/correct", again).status_code == 200
    assert [c.corrected_answer for c in asker.corrections] == ["A cough.", "Fever."]


@pytest.mark.parametrize(
    "wrong", [{"corrected_answer": " "}, {"error_kind": ""}, {"error_kind": "none"}, {"severity": "x"}], ids=str
)
def test_an_incomplete_correction_is_not_recorded_and_not_lost(asker: Asker, wrong: dict[str, str]) -> None:
    reply = asker.post("/ask/correct", form_of(ask(asker)) | {"corrected_answer": MARKER} | wrong)
    assert (reply.status_code, "Nothing was recorded" in reply.text) == (400, True)
    assert (MARKER in reply.text) == ("corrected_answer" not in wrong)
    assert asker.corrections == []


def test_nothing_is_acknowledged_that_the_ledger_does_not_hold(asker: Asker) -> None:
    """A correction of an unknown release is refused."""
    form = form_of(ask(asker))
    reply = asker.post("/ask/correct", form | {"release_id": "0" * 16})
    assert (reply.status_code, "is recorded as" in reply.text, "A cough." in reply.text) == (404, False, True)
    assert asker.corrections == []


def test_a_thumb_is_recorded_once(site: Site, asker: Asker) -> None:
    form = {name: value for name, value in form_of(ask(asker)).items() if name in ("key", "release_id")}
    assert "thumb down" in asker.post("/ask/rate", form | {"rating": "down"}).text
    assert asker.post("/ask/rate", form | {"rating": "down"}).status_code == 200
    assert asker.post("/ask/rate", form | {"rating": "up"}).status_code == 409
    assert asker.post("/ask/rate", form | {"rating": "sideways"}).status_code == 400
    with site.ledger.read() as connection:
        rows = connection.execute(answer_feedback.select()).mappings().all()
    assert [row["rating"] for row in rows if row["author"] == asker.name] == ["down"]


def test_a_stream_is_lines_of_text_and_then_the_whole_exchange(asker: Asker, speaker: Speaker) -> None:
    speaker.pieces = ["One\n", "<b>two</b>"]
    reply = asker.post("/ask/stream", {"question": "Who?"}, headers={"hx-request": "true"})
    parts = [json.loads(line) for line in reply.text.splitlines()]
    assert [part.get("text") for part in parts] == ["One\n", "<b>two</b>", None]
    assert "&lt;b&gt;two" in parts[-1]["html"]
    assert speaker.release_id in parts[-1]["html"]
    assert reply.headers["cache-control"] == "no-store"
    empty = asker.post("/ask/stream", {"question": " "}, headers={"hx-request": "true"})
    assert (empty.status_code, speaker.asked) == (400, ["Who?"])


def test_an_unavailable_gateway_loses_no_text(serve: Callable[..., Site]) -> None:
    asker = asker_at(serve(gateway={"port": free_port()}))
    reply = asker.post("/ask", {"question": MARKER})
    assert (reply.status_code, MARKER in reply.text) == (503, True)
    streamed = asker.post("/ask/stream", {"question": MARKER})
    assert "can't be reached" in json.loads(streamed.text)["error"]


def test_citations_and_unsupported_parts_are_shown(tmp_path: Path) -> None:
    """The page shows title, version and section of each passage, or that none was found."""
    question = "How many days of paid time off do full-time staff have?"
    with running(tmp_path, FILES) as (site, speaker):
        asker = asker_at(site)
        assert "no knowledge index is live" in ask(asker, question)
        fingerprint = go_live(site.settings, site.ledger, document("leave.md", LEAVE))
        speaker.pieces = ["You have ", "25 days [1]."]
        shown = ask(asker, question)
        assert re.search(r"<strong>Leave</strong> &rsaquo; Rules <span class=.fine.>version 1, leave.md; cited", shown)
        assert re.search(r"<mark title=.[^>]*\(numbers\).>25( days)?</mark>", shown)
        assert fingerprint[:16] in shown
        unknown = ask(asker, "What is the boiling point of tungsten?")
    assert CONTRACT.nothing_found in unknown
    assert "No document that you may see answers this question." in unknown


def test_a_person_sees_the_documents_of_their_own_labels(tmp_path: Path) -> None:
    """From the next click on, and the log says which they were. Another one on the same desk, through the same key, sees none."""
    question = "In which band of the pay scale is the salary of a ward head?"
    with running(tmp_path, FILES) as (site, speaker):
        go_live(site.settings, site.ledger, document("leave.md", LEAVE), document("pay.md", SALARIES, ("hr",)))
        speaker.pieces = ["In ", "band 12 [1]."]
        asker, other = asker_at(site), asker_at(site)
        assert "pay.md" not in ask(asker, question)
        site.add("Operator One", "operator")
        operator = site.signed_in("Operator One")
        form = {"labels": " hr  pharmacy hr "}
        who = find_user(site.ledger, asker.name).user_id
        assert operator.post(f"/users/{who}/labels", form, page="/users").status_code == 200
        assert 'value="hr pharmacy"' in operator.get("/users").text
        shown = ask(asker, question)
        assert ("pay.md" in shown, "labelled hr, pharmacy" in shown) == (True, True)
        assert "pay.md" not in ask(other, question)
        assert len(speaker.asked) == 1
        refused = operator.post(f"/users/{who}/labels", {"labels": "HR"}, page="/users")
        assert (refused.status_code, find_user(site.ledger, asker.name).labels) == (400, ("hr", "pharmacy"))
        operator.post(f"/users/{who}/labels", {"labels": ""}, page="/users")
        assert "pay.md" not in ask(asker, question)
        with site.ledger.read() as connection:
            lines = list(connection.execute(request_entries.select().order_by(request_entries.c.position)).mappings())
        changes = [line.resource for line in audit.list_entries(site.ledger) if line.action == "changed labels"]
    assert [line["labels"] for line in lines] == ["", "hr pharmacy", "", ""]
    assert changes == [f"user {asker.name}: hr pharmacy", f"user {asker.name}: none"]


def test_no_text_comes_out_in_a_log_or_an_address(
    site: Site, asker: Asker, speaker: Speaker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    speaker.pieces = [f"{MARKER} ", "said."]
    form = form_of(ask(asker, f"{MARKER}?"))
    reply = asker.post("/ask/correct", form | {"corrected_answer": f"{MARKER}!"})
    assert MARKER not in str(reply.url)
    own = "\n".join(r.getMessage() for r in caplog.records if not r.name.startswith(("httpx", "httpcore")))
    assert MARKER not in own
    kept = [path for path in site.settings.data_dir.rglob("*") if path.is_file()]
    assert [path.name for path in kept if MARKER.encode() in path.read_bytes()] == []


def test_the_desks_key_never_travels_in_clear_text(site: Site) -> None:
    for url in ("http://gateway.clinic.example", "ftp://127.0.0.1"):
        with pytest.raises(SettingsError, match="https"):
            GatewayClient(changed(site.settings, desk={"gateway_url": url}), site.ledger)
    GatewayClient(changed(site.settings, desk={"gateway_url": "https://gateway.clinic.example/"}), site.ledger)


def test_a_correction_carries_the_passages_of_its_answer(tmp_path: Path) -> None:
    """They survive a refused form, and the page reports passages that are no longer in any index."""
    question = "How many days of paid time off do full-time staff have?"
    with running(tmp_path, FILES) as (site, _):
        asker, folder = asker_at(site), site.settings.layout.knowledge_indexes
        fingerprint = go_live(site.settings, site.ledger, document("leave.md", LEAVE))
        form = form_of(ask(asker, question))
        refused = asker.post("/ask/correct", form | {"severity": "x"})
        again = form_of(refused.text)
        assert {name: again[name] for name in ("knowledge_index", "passages")} == {
            name: form[name] for name in ("knowledge_index", "passages")
        }
        assert "is recorded as" in asker.post("/ask/correct", again).text
        (kept,) = asker.corrections
        assert kept.answer_sources is not None
        assert kept.answer_sources.knowledge_index == fingerprint
        assert [passage.text for passage in kept.answer_sources.passages] == [LEAVE]
        late = form_of(ask(asker, question))
        go_live(site.settings, site.ledger, document("visits.md", VISITS))
        remove_index(folder, LanceStore(folder), fingerprint)
        reply = asker.post("/ask/correct", late)
    assert "is recorded as" in reply.text
    assert "no longer in any index" in reply.text
