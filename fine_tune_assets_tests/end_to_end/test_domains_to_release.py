"""Two other domains from reports to a served model, with nothing but their packs, recipes and reports."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import openai
import pyarrow.parquet as pq
import pytest
import yaml

from fine_tune_assets.core.settings import Settings, select_line
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.serving.verdicts import list_verdicts, sign_hold
from fine_tune_assets.recipes.loader import shipped_recipes
from fine_tune_assets_tests.conftest import SAMPLE
from fine_tune_assets_tests.end_to_end.conftest import SMALL, Small

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(2400)]
CLI = ("-m", "fine_tune_assets.cli.main")
DOMAINS = {
    "law": (
        "law_contracts",
        "CLAUSE TYPE",
        "The Supplier shall keep all documents of the Client secret for five years.",
    ),
    "finance": (
        "finance_complaints",
        "PRODUCT",
        "The charge on my credit card is not mine, and the bank refuses a refund.",
    ),
}
"""Domain → its recipe, a heading of its reports, and a question to the served model."""


@pytest.fixture(params=DOMAINS)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Small]]:
    """All reports of one domain as a product line, trained on and served beside the clinical one.

    A short training and an easy gate, but the pack's own scrub floors.
    """
    domain: str = request.param
    small = Small(tmp_path)
    recipe = yaml.safe_load(shipped_recipes()[DOMAINS[domain][0]].read_text(encoding="utf-8"))
    # Few answers in free text leave a wide interval; this gate stops only a candidate that is worse beyond doubt.
    own = {
        "scrub": {"recall_floor": 0.97, "direct_recall_floor": 0.97},
        "judge": {**SMALL["judge"], "test_examples": 20},
        "split": {**SMALL["split"], "minimum_examples": 60},
        "gate": {**SMALL["gate"], "minimum_gain": -9.0},
    }
    for section, changed in {**SMALL, **own}.items():
        recipe[section] = {**recipe.get(section, {}), **changed}
    (small.data / "line.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    try:
        _run(small, "lines", "add", domain, "--recipe", str(small.data / "line.yaml"))
        shutil.copytree(SAMPLE / "samples" / domain, small.data / "lines" / domain / "raw_reports")
        # The last step waits until the supervisor serves the release.
        _run(small, "--line", domain, "up", "supervisor")
        _run(small, "up", "supervisor", "gateway")
        (archive,) = (SAMPLE / "shipped_release").glob("*.tar")
        _run(small, "releases", "import", str(archive), "--public-key", str(archive.with_name("release.pub")))
        _run(small, "releases", "deploy", archive.stem)
        # No judge is qualified in this domain yet, so the verdict is a hold, which an approver signs.
        small.run(*CLI, "--line", domain, "materialize")
        _sign_hold(small, domain)
        _run(small, "--line", domain, "materialize")
        yield domain, small
    finally:
        small.run(*CLI, "down")


def _run(small: Small, *words: str) -> str:
    done = small.run(*CLI, *words)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


def _sign_hold(small: Small, domain: str) -> None:
    """Of the line's newest verdict, whose reasons name the step that qualifies a judge."""
    settings = select_line(Settings(data_dir=small.data), domain)
    with closing(open_ledger(settings)) as ledger:
        (verdict,) = list_verdicts(ledger, 1)
        assert verdict.decision == "hold"
        assert any("Spot checks" in reason or "Approve" in reason or "adapt" in reason for reason in verdict.reasons)
        sign_hold(ledger, verdict.verdict_id, "Chief", "Read every answer.")


def test_reports_of_another_domain_become_a_served_model_beside_the_clinical_one(served: tuple[str, Small]) -> None:
    """The scrubber is measured on the domain's own labelled reports, and the release that answers was trained on its examples."""
    domain, small = served
    _, heading, question = DOMAINS[domain]
    tables = small.data / "lines" / domain / "tables"
    assert set(pq.read_table(tables / "scrub_recall").column("labelled_set").to_pylist()) == {"held_out", "samples"}
    texts = pq.read_table(tables / "scrubbed_reports", columns=["text"]).column("text").to_pylist()
    assert len(texts) > 90
    assert sum(heading in text for text in texts) == len(texts)
    (release,) = pq.read_table(tables / "releases").to_pylist()
    made = _run(small, "keys", "create", "tester", "--scope", "chat")
    key = next(word for word in made.split() if word.startswith("fta_"))
    _run(small, "--line", domain, "keys", "accept", key.split("_")[1])
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{small.ports[0]}/v1", api_key=key, max_retries=20, timeout=60)
    served_releases = {model.id for model in client.models.list()} - {"live", domain}
    assert len(served_releases) == 2
    assert release["release_id"] in served_releases
    for model in ("main", domain):
        answer = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], max_tokens=8
        )
        assert answer.choices[0].message.content
    assert release["release_id"] in _run(small, "--line", domain, "status")
