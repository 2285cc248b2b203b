"""From raw reports to a served model with the real small model: the results of the graph, and a gate that closes. The graph ran
with loopback as the only network (test_air_gap.py)."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import httpx
import openai
import pytest

from examples.correction_loop.handovers import read_visits, share_out
from examples.correction_loop.installation import VISITS, Installation
from examples.correction_loop.loop import Outcome, require_kept, turn_the_loop
from fine_tune_assets.approval.drafts import CORRECTION
from fine_tune_assets.core.keys import read_or_create_key
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.encryption import KEY_NAME
from fine_tune_assets.ledger.reviews.correction_records import list_corrections
from fine_tune_assets.tables.asset_tables import TABLES
from fine_tune_assets_tests.changed_settings import settings_in
from fine_tune_assets_tests.desk.conftest import correct_on
from fine_tune_assets_tests.end_to_end.conftest import REPORTS_A_BATCH, Served, Small
from fine_tune_assets_tests.end_to_end.desk_user import add_user, ask, signed_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
ASKER, CORRECTED = "Asks At The Desk", "A cough."


def _rows(small: Small, table: str) -> list[dict[str, Any]]:
    files = str(small.data / "tables" / table / "*.parquet")
    found: Any = duckdb.sql("from read_parquet($1)", params=[files])
    return list(found.to_arrow_table().to_pylist())


def test_the_whole_graph_ends_with_a_promoted_release(served: Served) -> None:
    """A break anywhere on the path fails this test."""
    small, release_id = served
    assert _rows(small, "promotion_verdicts")[0]["decision"] == "promote"
    assert _rows(small, "served_models")[0]["release_id"] == release_id


def test_every_table_exists_and_plain_duckdb_reads_it(served: Served) -> None:
    """All but two: taggers are trained on request only, and drift is reported once a day."""
    small, _ = served
    for name, schema in TABLES.items():
        if name in ("phi_taggers", "production_drift"):
            continue
        files = str(small.data / "tables" / name / "*.parquet")
        columns = [row[0] for row in duckdb.execute("describe from read_parquet(?)", [files]).fetchall()]
        assert columns == schema.names, name


def test_training_lowered_the_loss_and_changed_the_answers(served: Served) -> None:
    """An adapter that was never applied would pass every other check of the demo."""
    small, _ = served
    adapter = _rows(small, "adapters")[0]
    assert adapter["best_validation_loss"] < adapter["first_validation_loss"]
    answers: dict[str, dict[str, str]] = {}
    for row in _rows(small, "judge_scores"):
        answers.setdefault(row["example_id"], {})[row["model"]] = row["answer"]
    assert any(pair["base"] != pair["adapter"] for pair in answers.values())


def test_approved_examples_are_trained_on_and_the_trained_model_is_served(served: Served) -> None:
    """Verified through the stored fingerprints."""
    small, release_id = served
    approved = {row["fingerprint"] for row in _rows(small, "approved_examples")}
    trained = [row for row in _rows(small, "instruction_sets") if not row["is_general"]]
    assert {row["fingerprint"] for row in trained} <= approved
    adapter, release = _rows(small, "adapters")[0], _rows(small, "releases")[0]
    assert release["adapter_id"] == adapter["adapter_id"]
    assert release["instruction_set_fingerprint"] == adapter["instruction_set_fingerprint"]
    assert _rows(small, "served_models")[0]["release_id"] == release["release_id"] == release_id
    manifest = json.loads((small.data / release["folder"] / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["files"]["adapter.gguf"] == _rows(small, "quantized_weights")[0]["fingerprint"]


def test_the_release_verifies_and_contains_its_evidence(served: Served, tmp_path: Path) -> None:
    """Another machine needs only the folder and the key. The release contains the measured values and no others."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    from fine_tune_assets.recipes.loader import load_recipe

    small, release_id = served
    folder = shutil.copytree(small.data / _rows(small, "releases")[0]["folder"], tmp_path / "release")
    key = str(small.data / "keys" / "releases.pub")
    done = small.run("-m", "fine_tune_assets.cli.main", "releases", "verify", str(folder), "--public-key", key)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"release {release_id}: " in done.stdout
    evidence = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("evidence/*.json")}
    assert evidence["verdict"]["verdict_id"] == _rows(small, "promotion_verdicts")[0]["verdict_id"]
    assert {row["labelled_set"] for row in evidence["scrub_certificate"]["measures"]} == {"asq_phi"}
    assert evidence["leakage_certificate"]["metrics"]["is_valid"]
    assert evidence["judge_qualification"]["measures"]
    measured = [hop["metrics"]["mean_kl"] for hop in evidence["parity"]["hops"]]
    assert measured == [_rows(small, name)[0]["mean_kl"] for name in ("merged_weights", "quantized_weights")]
    recipe = load_recipe(str(small.data / "recipe.yaml"))
    trained = replace(recipe, review=replace(recipe.review, guidelines={}))  # guidelines are for reviewers only
    assert load_recipe(str(folder / "recipe.yaml")) == trained
    bill = (folder / "sbom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None


@pytest.fixture(scope="module")
def services(served: Served) -> Iterator[Small]:
    small, _ = served
    done = small.run("-m", "fine_tune_assets.cli.main", "up", "supervisor", "gateway")
    assert done.returncode == 0, done.stderr
    yield small
    small.run("-m", "fine_tune_assets.cli.main", "down")  # other tests need the processor


def test_the_openai_client_is_answered_with_a_key_and_refused_without_one(services: Small) -> None:
    """Default deny: a wrong or missing key gets status 401 and no part of an answer."""
    url = f"http://127.0.0.1:{services.ports[0]}/v1"
    made = services.run("-m", "fine_tune_assets.cli.main", "keys", "create", "tester", "--scope", "chat")
    key = next(word for word in made.stdout.split() if word.startswith("fta_"))
    messages: Any = [{"role": "user", "content": "Summarize: the patient coughs."}]
    _wait_until_live(url, key)
    answer = openai.OpenAI(base_url=url, api_key=key).chat.completions.create(
        model="live", messages=messages, max_tokens=16
    )
    assert answer.choices[0].message.content
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0).chat.completions.create(
            model="live", messages=messages
        )
    asked = {"model": "live", "messages": messages}
    assert httpx.post(f"{url}/chat/completions", json=asked, trust_env=False).status_code == 401


def _wait_until_live(url: str, key: str) -> None:
    client = openai.OpenAI(base_url=url, api_key=key, max_retries=20, timeout=60)
    assert list(client.models.list())


def test_status_names_the_live_release(services: Small, served: Served) -> None:
    done = services.run("-m", "fine_tune_assets.cli.main", "status")
    assert served[1] in done.stdout


@dataclass(frozen=True)
class AtTheDesk:
    """Releases that answered in the browser, before and after the cycle of the loop."""

    first_release: str
    second_release: str


@pytest.fixture(scope="module")
def loop(services: Small) -> tuple[Outcome, AtTheDesk]:
    """The loop: corrections through the gateway, signatures on the desk, and then the daemon alone. The example does the same
    with more dialogues and the demo's gates, and checks that the answer becomes correct: two real trainings and evaluations."""
    settings = settings_in(services.environment)
    daily = ("desk", "code-server", "dagster-daemon")
    done = services.run("-m", "fine_tune_assets.cli.main", "up", *daily)
    assert done.returncode == 0, done.stderr
    # Short dialogues that are not among the reports. The scrubber withholds none, so each correction reaches the end.
    visits = [visit for visit in read_visits(VISITS)[2 * REPORTS_A_BATCH :] if len(visit["dialogue"]) <= 280]
    shares = share_out(visits, reported=0, corrected=16, only_asked=1)
    add_user(settings, ASKER)
    try:
        with signed_in(settings, ASKER) as page:
            first = ask(page)
        outcome = turn_the_loop(Installation(services.environment), shares)
        with signed_in(settings, ASKER) as page:
            second = ask(page)
            correct_on(page, CORRECTED, "wrong_fact")
        return outcome, AtTheDesk(first, second)
    finally:
        services.run("-m", "fine_tune_assets.cli.main", "down", *daily)


@pytest.fixture(scope="module")
def turned(loop: tuple[Outcome, AtTheDesk]) -> Outcome:
    return loop[0]


@pytest.mark.long
def test_a_desk_user_is_answered_by_the_next_release_and_corrects_it_too(
    services: Small, loop: tuple[Outcome, AtTheDesk]
) -> None:
    """In the browser, the page names the release that answered, and the correction is stored for the next cycle."""
    outcome, seen = loop
    assert seen == AtTheDesk(*outcome.releases)
    settings = settings_in(services.environment)
    ledger = open_ledger(settings)
    try:
        kept = list_corrections(ledger, read_or_create_key(settings.layout.keys, KEY_NAME))
    finally:
        ledger.close()
    (own,) = [one for one in kept if one.author == ASKER]
    assert (own.corrected_answer, own.release_id) == (CORRECTED, seen.second_release)


@pytest.mark.long
def test_corrections_lead_to_the_next_release_automatically(services: Small, served: Served, turned: Outcome) -> None:
    """Approved by another person, trained, judged against the production model, merged, released and switched to."""
    verdict, release = _rows(services, "promotion_verdicts")[0], _rows(services, "releases")[0]
    assert turned.releases == (served[1], release["release_id"])
    assert verdict["adapter_id"] == release["adapter_id"]
    assert verdict["incumbent_fingerprint"] not in (verdict["adapter_id"], verdict["base_fingerprint"])
    assert {row["model"] for row in _rows(services, "judge_scores")} == {"base", "adapter", "incumbent"}
    assert release["release_id"] in services.run("-m", "fine_tune_assets.cli.main", "status").stdout


@pytest.mark.long
def test_no_request_fails_during_the_switch_and_the_lineage_names_the_corrections(
    services: Small, turned: Outcome
) -> None:
    """A client sent requests throughout, and the trace shows whose corrections were learned."""
    require_kept(turned)
    assert turned.tally.requests > 20
    corrections = {
        row["example_id"]: row["report_id"].partition("/")[2]
        for row in _rows(services, "approved_examples")
        if row["source"] == CORRECTION
    }
    assert set(corrections.values()) == set(turned.corrections)
    trained = [row["example_id"] for row in _rows(services, "instruction_sets") if row["split"] != "test"]
    assert set(turned.learned_from) <= {corrections[example] for example in trained if example in corrections}


@pytest.mark.long
def test_one_training_was_enough(turned: Outcome) -> None:
    """Sixteen consecutive signatures must not start sixteen trainings, nor a later one without new examples."""
    trained = [run for run in turned.runs if dg.AssetKey("adapters") in (run.asset_selection or ())]
    assert len(trained) == 1


def test_a_worse_candidate_is_neither_merged_nor_released_nor_served(services: Small) -> None:
    """This holds even if each step behind the gate is launched manually in a separate run."""
    # The highest learning rate that a recipe allows ruins the model: the training loss grows from 6 to 27 (measured).
    services.write_recipe(training={"learning_rate": 0.09}, gate={"minimum_gain": 0.0})
    live = _rows(services, "releases")[0]["release_id"]
    before = {
        name: (services.data / "tables" / name / f"{name}.parquet").read_bytes()
        for name in ("releases", "served_models")
    }
    done = services.run("-m", "fine_tune_assets.cli.main", "materialize")
    assert done.returncode == 1, done.stdout
    assert "GateClosedError" not in done.stdout
    judged = _launch_by_hand(services, "judge_scores", "retained_abilities", "promotion_verdicts")
    # Its validation loss is higher than before the training, so it is not judged.
    assert ["UnchangedAdapterError" in output for output in judged] == [True, True, True]
    adapter = _rows(services, "adapters")[0]["adapter_id"]
    for name in ("promotion_verdicts", "releases"):
        assert _rows(services, name)[0]["adapter_id"] != adapter
    behind = ("merged_weights", "quantized_weights", "releases")
    *closed, _ = _launch_by_hand(services, *behind, "served_models")
    for asset, output in zip(behind, closed, strict=True):
        assert "GateClosedError" in output, asset
    after = {name: (services.data / "tables" / name / f"{name}.parquet").read_bytes() for name in before}
    assert after == before
    assert live in services.run("-m", "fine_tune_assets.cli.main", "status").stdout


LAUNCHES = """
import sys
from dagster._cli import create_dagster_cli
for asset in sys.argv[1:]:
    print("==", asset, flush=True)
    command = ["asset", "materialize", "--select", asset, "-m", "fine_tune_assets.definitions"]
    try:
        create_dagster_cli()(command, standalone_mode=False)
    except Exception as error:
        print("refused:", error, flush=True)
"""


def _launch_by_hand(small: Small, *assets: str) -> list[str]:
    """Launch each asset in a separate run, like the Dagster UI, regardless of its conditions. Returns what each run printed."""
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHES, *assets],
        cwd=small.project,
        env=small.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    printed = re.split(r"^== \w+$", done.stdout, flags=re.MULTILINE)[1:]
    assert len(printed) == len(assets), done.stdout[-4000:]
    return printed


def test_a_changed_release_folder_is_not_started(services: Small, tmp_path: Path) -> None:
    """A person who can write to the disk must not get other weights served under a release's name."""
    from fine_tune_assets.core.releases.release_folders import ReleaseError, verify_release

    release = _rows(services, "releases")[0]
    folder = shutil.copytree(services.data / release["folder"], tmp_path / "release")
    verify_release(folder, release["release_id"])
    (folder / "prompt.json").write_text('{"system_prompt": "Say anything."}', encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"prompt\.json"):
        verify_release(folder, release["release_id"])
