"""Two product lines, clinical and law, side by side in one installation: services, models, runs and erasures."""

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import dagster as dg
import httpx
import openai
import psutil
import pyarrow.parquet as pq
import pytest
import yaml

from fine_tune_assets.core.keys import read_key
from fine_tune_assets.core.settings import PREFIX, Settings, load_settings, select_line
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.reviews.erasures import find_erasure
from fine_tune_assets.recipes.loader import shipped_recipes
from fine_tune_assets.reports.stated_identifiers import identify_subject, make_subject_key
from fine_tune_assets_tests.conftest import SAMPLE
from fine_tune_assets_tests.end_to_end.conftest import SMALL, Small

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]

LAW, BATCH = "law", "2026-05-clauses"
FIRST, LATER = slice(0, 24), slice(24, 30)
SHARED_SUBJECT = "client-021"
"""Of the first report of the law sample; a report about the same person is dropped into the clinical line."""
CLI = ("-m", "fine_tune_assets.cli.main")


@dataclass
class TwoLines:
    small: Small
    settings: Settings
    """Of the main line."""
    instance: dg.DagsterInstance

    @property
    def law(self) -> Settings:
        return select_line(self.settings, LAW)

    def run(self, *words: str) -> str:
        done = self.small.run(*CLI, *words)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def drop_clauses(self, settings: Settings, batch: str, files: slice) -> None:
        folder = settings.layout.raw_reports / f"{batch}.partial"
        folder.mkdir(parents=True)
        source = SAMPLE / "samples" / "law" / BATCH
        for file in (source / "batch.yaml", *sorted(source.glob("law-*.txt"))[files]):
            shutil.copy(file, folder)
        folder.rename(folder.with_suffix(""))

    def count(self, settings: Settings, table: str) -> int:
        return sum(pq.read_metadata(path).num_rows for path in (settings.layout.tables / table).glob("*.parquet"))

    def runs(self) -> dict[str, dg.DagsterRun]:
        return {run.run_id: run for run in self.instance.get_runs()}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoLines]:
    """Both lines have reports; no base model exists, so that nothing is trained here."""
    small = Small(tmp_path_factory.mktemp("lines"))
    nowhere = {"folder": str(small.data / "no-such-model")}
    small.write_recipe(base_model=nowhere)
    law = yaml.safe_load(shipped_recipes()["law_contracts"].read_text(encoding="utf-8"))
    few = {"minimum_examples": 5}
    for section, changed in (*SMALL.items(), ("split", few), ("base_model", nowhere)):
        law[section] = {**law.get(section, {}), **changed}
    for gold in (small.data / "evaluation" / "law_phi").glob("*.jsonl"):
        gold.write_text("".join(gold.read_text(encoding="utf-8").splitlines(keepends=True)[:10]), encoding="utf-8")
    (small.data / "law.yaml").write_text(yaml.safe_dump(law), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small.environment.items():
            if name.startswith((PREFIX, "DAGSTER_")):
                patch.setenv(name, value)
        with dg.DagsterInstance.get() as instance:
            found = TwoLines(small, load_settings(), instance)
            found.run("lines", "add", LAW, "--recipe", str(small.data / "law.yaml"))
            found.drop_clauses(found.law, BATCH, FIRST)
            try:
                yield found
            finally:
                small.run(*CLI, "down")  # of every line


@pytest.fixture(scope="module")
def scrubbed(two: TwoLines) -> TwoLines:
    """Once both lines have instruction sets. Their base models can't be had, so the command ends with that error."""
    for line in ("main", LAW):
        done = two.small.run(*CLI, "--line", line, "materialize")
        assert "no-such-model" in done.stdout + done.stderr
        made = two.count(two.law if line == LAW else two.settings, "instruction_sets")
        assert made > 0, done.stdout[-3000:] + done.stderr[-3000:]
    return two


def test_each_line_has_its_own_tables_and_asset_keys(scrubbed: TwoLines) -> None:
    """Otherwise a clinical model would be trained on contracts."""
    for settings, heading in ((scrubbed.settings, "DIALOGUE"), (scrubbed.law, "CLAUSE")):
        texts = [
            text
            for file in (settings.layout.tables / "scrubbed_reports").glob("*.parquet")
            for text in pq.read_table(file, columns=["text"]).column("text").to_pylist()
        ]
        assert texts
        assert all(heading in text.upper() for text in texts)
    for key in (dg.AssetKey([LAW, "instruction_sets"]), dg.AssetKey("instruction_sets")):
        assert scrubbed.instance.get_latest_materialization_event(key) is not None
    for run in scrubbed.runs().values():
        assert len({key.path[0] == LAW for key in run.asset_selection or ()}) == 1, "a run never mixes two lines"


def test_a_change_in_one_line_runs_nothing_in_the_other(scrubbed: TwoLines) -> None:
    before, examples = set(scrubbed.runs()), scrubbed.count(scrubbed.law, "drafted_examples")
    scrubbed.drop_clauses(scrubbed.law, "2026-06-clauses", LATER)
    scrubbed.small.run(*CLI, "--line", LAW, "materialize")
    assert scrubbed.count(scrubbed.law, "drafted_examples") > examples
    after_law = set(scrubbed.runs())
    scrubbed.small.run(*CLI, "materialize")
    in_main = [run for run_id, run in scrubbed.runs().items() if run_id not in after_law]
    # The command repeats what failed, which is the base model; nothing else is out of date.
    assert {key.to_user_string() for run in in_main for key in run.asset_selection or ()} == {"base_models"}
    in_law = [run for run_id, run in scrubbed.runs().items() if run_id in after_law - before]
    assert all(key.path[0] == LAW for run in in_law for key in run.asset_selection or ())


def test_two_models_answer_at_one_gateway(scrubbed: TwoLines) -> None:
    """Each with its own production model and engine. An application has one key for both."""
    shipped = SAMPLE / "shipped_release"
    (archive,) = shipped.glob("*.tar")
    release_id = archive.stem
    scrubbed.run("--line", LAW, "up", "supervisor")
    scrubbed.run("up", "supervisor", "gateway")
    for line in ("main", LAW):
        scrubbed.run("--line", line, "releases", "import", str(archive), "--public-key", str(shipped / "release.pub"))
        scrubbed.run("--line", line, "releases", "deploy", release_id)
    made = scrubbed.run("keys", "create", "application", "--scope", "chat")
    key = next(word for word in made.split() if word.startswith("fta_"))
    url = f"http://127.0.0.1:{scrubbed.small.ports[0]}"
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=20, timeout=60)
    messages = [{"role": "user", "content": "A patient coughs."}]
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model=LAW, messages=messages, max_tokens=4)
    scrubbed.run("--line", LAW, "keys", "accept", key.split("_")[1])
    for model in ("live", LAW):
        answer = client.chat.completions.create(model=model, messages=messages, max_tokens=4)
        assert answer.choices[0].message.content
    assert {"live", LAW} <= {model.id for model in client.models.list()}
    ready = httpx.get(f"{url}/ready", trust_env=False).json()
    assert ready["lines"] == {"main": "ready", LAW: "ready"}
    listed = json.loads(scrubbed.run("lines", "list", "--json"))
    assert [(one["line"], one["production"]) for one in listed] == [("main", release_id), (LAW, release_id)]
    engines = _engine_bytes(scrubbed)
    assert len(engines) == 2
    print(f"memory of the engines: {[round(size / 2**20) for size in engines]} MiB")


def _engine_bytes(two: TwoLines) -> list[int]:
    """Memory of each engine that is not shared with another process (USS)."""
    found = []
    for pid in two.small.processes():
        try:
            process = psutil.Process(int(pid))
            if "llama" in " ".join(process.cmdline()):
                found.append(process.memory_full_info().uss)
        except psutil.NoSuchProcess:
            continue
    return found


def test_an_erasure_reaches_every_line(scrubbed: TwoLines) -> None:
    """The same person may be a patient and a client."""
    scrubbed.drop_clauses(scrubbed.settings, "2026-07-letters", slice(0, 1))
    scrubbed.small.run(*CLI, "materialize")
    assert _has_subject(scrubbed.settings)
    assert _has_subject(scrubbed.law)
    subject = _shared_key(scrubbed.settings)
    scrubbed.run("subjects", "erase", subject, "--reason", "asked by the person", "--yes")
    assert not _has_subject(scrubbed.settings)
    assert not _has_subject(scrubbed.law)
    for settings in (scrubbed.settings, scrubbed.law):
        with closing(open_ledger(settings)) as ledger:
            erasure = find_erasure(ledger, subject)
        assert erasure is not None
        assert erasure.is_finished


def _has_subject(settings: Settings) -> bool:
    files = list((settings.layout.tables / "reports").glob("*.parquet"))
    keys = {
        key for file in files for key in pq.read_table(file, columns=["subject_key"]).column("subject_key").to_pylist()
    }
    return _shared_key(settings) in keys


def _shared_key(settings: Settings) -> str:
    secret = read_key(settings.subject_keys / "subjects.key")
    return make_subject_key(secret, identify_subject(SHARED_SUBJECT, ""))
