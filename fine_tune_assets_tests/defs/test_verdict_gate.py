"""The gate as Dagster shows it: closed on a hold, and opened by an approver's signature on exactly that verdict."""

import json
import shutil
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from fine_tune_assets.cli.main import main
from fine_tune_assets.core.errors import GATE_CLOSED, GateClosedError
from fine_tune_assets.core.keys import public_key_file
from fine_tune_assets.core.shared_records import Verdict
from fine_tune_assets.defs.local_run import report_source_changes
from fine_tune_assets.defs.platform.automation import latest_event
from fine_tune_assets.defs.platform.metadata import REASON
from fine_tune_assets.defs.platform.resources import Installation
from fine_tune_assets.defs.s07_judge_scores.promotion_verdicts import verdict_allows_release
from fine_tune_assets.ledger.serving.verdict_documents import DOCUMENT, KEY_NAME, write_document
from fine_tune_assets.ledger.serving.verdicts import record_verdict, sign_hold
from fine_tune_assets.tables.judging_rows import PromotionVerdict
from fine_tune_assets.tables.record_classes import table_from_rows
from fine_tune_assets_tests.ledger.ledger_rows import make_verdict


def _recorded(decision: str) -> Verdict:
    verdict = make_verdict(decision)
    layout = Installation().layout
    write_document(layout.verdicts, layout.keys, verdict)
    with Installation().ledger() as ledger:
        record_verdict(ledger, verdict)
    return verdict


def _check(verdict: Verdict) -> dg.AssetCheckResult:
    row = {
        **vars(verdict),
        "reasons": list(verdict.reasons),
        "incumbent_fingerprint": verdict.incumbent,
        "example_count": 30,
    }
    scores = dict.fromkeys(("incumbent_score", "candidate_score", "gain_low", "gain_high"), 1.0)
    table = table_from_rows(
        [{name: {**row, **scores}[name] for name in PromotionVerdict.SCHEMA.names}], PromotionVerdict.SCHEMA
    )
    found = verdict_allows_release(installation=Installation(), promotion_verdicts=table)
    assert isinstance(found, dg.AssetCheckResult)
    return found


def _verdicts(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["verdicts", *arguments])


def _sign(verdict: Verdict) -> None:
    with Installation().ledger() as ledger:
        sign_hold(ledger, verdict.verdict_id, "approver-1", "Graded by hand.")


@pytest.mark.usefixtures("installation_dir")
def test_a_promotion_opens_the_gate() -> None:
    assert _check(_recorded("promote")).passed


@pytest.mark.usefixtures("installation_dir")
def test_a_hold_is_closed_until_an_approver_signs_it() -> None:
    """A named approver takes the responsibility, and the list shows the name."""
    verdict = _recorded("hold")
    closed = _check(verdict)
    assert not closed.passed
    assert "sign it on the desk" in str(closed.metadata[REASON].value)
    _sign(verdict)
    assert _check(verdict).passed
    assert f"{verdict.verdict_id}  hold, signed by approver-1" in _verdicts("list").output


@pytest.mark.usefixtures("installation_dir")
def test_a_script_reads_the_list_of_verdicts_as_json() -> None:
    """The newest first, with the figures as values and not as text within text."""
    assert json.loads(_verdicts("list", "--json").output) == []
    first = _recorded("hold")
    _sign(first)
    second = _recorded("refuse")
    newest, oldest = json.loads(_verdicts("list", "--json").output)
    assert (newest["verdict_id"], newest["decision"], newest["signed_by"]) == (second.verdict_id, "refuse", [])
    assert (oldest["verdict_id"], oldest["decision"], oldest["signed_by"]) == (first.verdict_id, "hold", ["approver-1"])
    assert (oldest["evidence"], oldest["reasons"]) == ({"gain": 1.0}, ["Measured in a test."])
    assert len(json.loads(_verdicts("list", "--limit", "1", "--json").output)) == 1


@pytest.mark.usefixtures("installation_dir")
def test_a_refusal_can_not_be_signed() -> None:
    """It rests on a measured failure."""
    verdict = _recorded("refuse")
    assert not _check(verdict).passed
    with pytest.raises(GateClosedError):
        _sign(verdict)
    assert json.loads(_verdicts("list", "--json").output)[0]["signed_by"] == []
    assert not _check(verdict).passed


@pytest.mark.usefixtures("installation_dir")
def test_a_verdict_that_is_not_in_the_ledger_opens_nothing() -> None:
    """Anyone with access to the disk can write a table, so only the ledger counts."""
    assert not _check(make_verdict("promote")).passed


def test_a_signature_is_noticed(installation_dir: Path, instance: dg.DagsterInstance) -> None:  # noqa: ARG001
    """Assets behind the gate continue without a manual step."""
    key = dg.AssetKey("verdict_signatures")
    verdict = _recorded("hold")
    report_source_changes(instance)
    before = latest_event(instance, key)
    report_source_changes(instance)
    assert latest_event(instance, key) == before
    _sign(verdict)
    report_source_changes(instance)
    after = latest_event(instance, key)
    assert after is not None
    assert before is not None
    assert after.version != before.version


@pytest.mark.usefixtures("installation_dir")
def test_a_verdict_without_a_signed_document_closes_the_gate() -> None:
    """The ledger may be a database on another machine, and write access to it must not be enough to serve a model."""
    verdict = make_verdict("promote")
    with Installation().ledger() as ledger:
        record_verdict(ledger, verdict)
    closed = _check(verdict)
    assert not closed.passed
    assert verdict.verdict_id in str(closed.metadata[REASON].value)
    assert "verdict.sig" in str(closed.metadata[REASON].value)


@pytest.mark.usefixtures("installation_dir")
def test_a_document_is_proven_on_the_command_line_and_a_changed_one_is_not(tmp_path: Path) -> None:
    """By its id here, or as a file with a public key anywhere else."""
    verdict, layout = _recorded("hold"), Installation().layout
    proven = _verdicts("verify", verdict.verdict_id)
    assert proven.exit_code == 0, proven.output
    assert proven.output.startswith(f"{verdict.verdict_id}: signed by the key ")
    assert "decision: hold" in proven.output
    elsewhere = shutil.copytree(layout.verdicts / verdict.verdict_id, tmp_path / "elsewhere")
    key = shutil.copy(public_key_file(layout.keys, KEY_NAME), tmp_path / "auditor.pub")
    assert _verdicts("verify", str(elsewhere / DOCUMENT), "--public-key", str(key)).exit_code == 0
    document = elsewhere / DOCUMENT
    document.write_bytes(document.read_bytes().replace(b'"hold"', b'"promote"'))
    changed = _verdicts("verify", str(elsewhere), "--public-key", str(key))
    assert changed.exit_code == GATE_CLOSED
    assert "verdict.json" in changed.output


@pytest.mark.usefixtures("installation_dir")
def test_a_verdict_of_another_adapter_than_the_one_on_this_machine_is_not_proven() -> None:
    """The document names it by the fingerprint of its files."""
    layout = Installation().layout
    adapter = layout.adapters / "adapter-1"
    adapter.mkdir(parents=True)
    (adapter / "adapter_model.safetensors").write_bytes(b"others")
    refused = _verdicts("verify", _recorded("hold").verdict_id)
    assert refused.exit_code == GATE_CLOSED
    assert "adapter-1" in refused.output
