"""`fine-tune verifier`: an organization trains and measures a verifier on its own reports."""

import gzip
import json
import shutil
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fine_tune_assets.cli.main import main
from fine_tune_assets.cli.verifier_commands import read_usable_labels
from fine_tune_assets.core.fingerprints import fingerprint_file
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.core.paths import PROJECT_DIR
from fine_tune_assets.core.progress import ignore_progress
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.embeddings.encoder import load_tokenizer
from fine_tune_assets.judging.judges.statement_readers import Claim
from fine_tune_assets.judging.judges.verifier.pair_encoding import PairEncoder
from fine_tune_assets.judging.judges.verifier.verifier_files import encoder_folder, read_weights, verifier_version
from fine_tune_assets.judging.judges.verifier.verifier_reader import VerifierReader
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.identifier_marks import record_mark
from fine_tune_assets.ledger.reviews.statement_labels import LabelledTexts, record_statement_label
from fine_tune_assets_tests.ledger.reviews.sample_label import LABEL

REPORTS = PROJECT_DIR / "data" / "verifier_training" / "mts_dialog.jsonl.gz"


def _run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["verifier", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_card_of_the_shipped_verifier_names_its_training_and_measurement() -> None:
    code, output = _run("card")
    card = json.loads(output)
    assert code == 0
    assert card["training"]["reports"] > 0
    assert {row["kind"] for row in card["measured"]} >= {"dose", "side", "negation", "all"}
    assert all(abs(row["blind_auroc"] - 0.5) < 0.05 for row in card["measured"])


def test_measuring_without_reports_is_refused() -> None:
    assert _run("measure")[0] == 2


def test_a_label_whose_text_has_a_marked_identifier_trains_no_verifier(tmp_path: Path) -> None:
    """The identifier was found after the label was given, and trained weights can't forget it."""
    settings = Settings(data_dir=tmp_path)
    key = read_or_create_key(settings.layout.keys, KEY_NAME)
    texts = LabelledTexts("Patient: Call Zyxwick at home.", "Lives with family.", "r" * 64)
    with closing(open_ledger(settings)) as ledger:
        for subject in ("p" * 64, "q" * 64):
            record_statement_label(ledger, key, replace(LABEL, example_id=subject[:2], subject_key=subject), texts)
        case = json.dumps({"text": "Zyxwick", "spans": []})
        record_mark(
            ledger, key, report_id="b/1", batch="b", subject_key="p" * 64, kind="NAME", term="Zyxwick",
            labelled_case=case, marked_by="Reviewer",
        )  # fmt: skip
    assert [label.subject_key for label, _ in read_usable_labels(settings)] == ["q" * 64]


@pytest.mark.slow
def test_a_verifier_is_trained_measured_and_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short training: what matters is that its folder works like the shipped one."""
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path))
    reports = tmp_path / "reports.jsonl"
    reports.write_text("".join(gzip.decompress(REPORTS.read_bytes()).decode().splitlines(keepends=True)[:100]))
    code, output = _run("train", "own", "--reports", reports, "--pairs", 400, "--leave-out", "side")
    assert code == 0, output
    folder = tmp_path / "verifiers" / "own"
    card = json.loads((folder / "card.json").read_text())
    assert card["training"]["left_out"] == ["side"]
    assert json.loads((folder / "leakage.json").read_text())["removed_reports"] >= 0
    again, _ = _run("train", "own", "--reports", reports, "--pairs", 400)
    assert again != 0
    lines = tmp_path / "unseen.jsonl"
    record = "Doctor: Any fever?\nPatient: No.\nPatient: My left knee hurts for 3 weeks."
    row = {"subject": "a", "record": record, "note": "Denies fever. Left knee pain for 3 weeks."}
    lines.write_text(json.dumps(row) + "\n")
    code, output = _run("measure", folder, "--reports", lines, "--json")
    assert code == 0, output
    assert {"kind", "auroc", "blind_auroc", "wrong"} <= set(json.loads(output)[0])
    code, output = _run(
        "train", "next", "--reports", reports, "--test-reports", lines, "--base", folder, "--pairs", 100
    )
    assert code == 0, output
    continued = json.loads((tmp_path / "verifiers" / "next" / "card.json").read_text())["training"]
    assert continued["base"] == verifier_version(folder)
    assert continued["base_training"] == card["training"]
    assert continued["reports"] > card["training"]["reports"]


@pytest.mark.slow
def test_another_bert_model_is_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An organization with a GPU starts from a larger one. Its verifier needs nothing but its own folder."""
    import torch
    from transformers import BertConfig, BertModel

    from fine_tune_assets.judging.judges.verifier.cross_encoder import Batch, CrossEncoder, load_weights

    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path))
    base = tmp_path / "bert"
    tokenizer = load_tokenizer()
    shape = {"num_hidden_layers": 3, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96}
    torch.manual_seed(1)
    BertModel(BertConfig(vocab_size=tokenizer.get_vocab_size(), **shape)).save_pretrained(base)
    tokenizer.save(str(base / "tokenizer.json"))
    reports = tmp_path / "reports.jsonl"
    reports.write_text("".join(gzip.decompress(REPORTS.read_bytes()).decode().splitlines(keepends=True)[:60]))
    code, output = _run("train", "large", "--reports", reports, "--pairs", 200, "--base", base)
    assert code == 0, output
    folder = tmp_path / "verifiers" / "large"
    training = json.loads((folder / "card.json").read_text())["training"]
    assert (training["base"], training["base_training"]) == (fingerprint_file(base / "model.safetensors"), {})
    shutil.rmtree(base)

    claim = Claim("Doctor: Any fever?\nPatient: No.", "Denies fever.")
    (reading,) = VerifierReader(folder, 1).read([claim], ignore_progress)
    model = CrossEncoder(encoder_folder(folder), is_pretrained=False).eval()
    load_weights(model, read_weights(folder))
    encoded = PairEncoder(tokenizer).encode_claim(claim)
    said = torch.zeros(1, len(encoded.ids))
    said[0, 1 : 1 + encoded.statement_pieces] = 1
    rows = [torch.from_numpy(one).unsqueeze(0) for one in (encoded.ids, encoded.segments)]
    unknown = torch.zeros(0)
    with torch.no_grad():
        logits, _ = model(Batch(*rows, torch.ones_like(rows[0]), said, unknown, unknown))
    expected = logits.softmax(-1)[0].tolist()
    assert [reading.supported, reading.contradicted, reading.not_mentioned] == pytest.approx(expected, abs=1e-4)

    code, output = _run("train", "next", "--reports", reports, "--pairs", 100, "--base", folder)
    assert code == 0, output
    assert json.loads((tmp_path / "verifiers" / "next" / "card.json").read_text())["training"][
        "base"
    ] == verifier_version(folder)
    assert verifier_version(tmp_path / "verifiers" / "next") != verifier_version(folder)


def test_a_base_that_is_no_verifier_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINE_TUNE_DATA_DIR", str(tmp_path))
    assert _run("train", "own", "--reports", REPORTS, "--base", tmp_path)[0] == 2
    assert not (tmp_path / "verifiers").exists()
