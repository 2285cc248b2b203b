"""Two other domains from reports to a served model, with nothing but their packs, recipes and reports."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import openai
import pyarrow.parquet as pq
import pytest

from fine_tune_assets_tests.conftest import SAMPLE
from fine_tune_assets_tests.end_to_end.conftest import SMALL, Small

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(2400)]
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
    """All reports of one domain, trained on and served; a short training and an easy gate, but the pack's own scrub floors."""
    domain: str = request.param
    small = Small(tmp_path, DOMAINS[domain][0])
    shutil.rmtree(small.data / "raw_reports")
    shutil.copytree(SAMPLE / "samples" / domain, small.data / "raw_reports")
    # Few answers in free text leave a wide interval; this gate stops only a candidate that is worse beyond doubt.
    small.write_recipe(
        scrub={"recall_floor": 0.97, "direct_recall_floor": 0.97},
        judge={**SMALL["judge"], "test_examples": 20},
        gate={**SMALL["gate"], "minimum_gain": -9.0},
    )
    try:
        # The last step waits until the supervisor serves the release.
        up = small.run("-m", "fine_tune_assets.cli.main", "up", "supervisor", "gateway")
        assert up.returncode == 0, up.stderr
        done = small.run("-m", "fine_tune_assets.cli.main", "materialize")
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        yield domain, small
    finally:
        small.run("-m", "fine_tune_assets.cli.main", "down")


def test_reports_of_another_domain_become_a_served_model(served: tuple[str, Small]) -> None:
    """The scrubber is measured on the domain's own labelled reports, and the release that answers was trained on its examples."""
    domain, small = served
    _, heading, question = DOMAINS[domain]
    tables = small.data / "tables"
    assert set(pq.read_table(tables / "scrub_recall").column("labelled_set").to_pylist()) == {"samples"}
    texts = pq.read_table(tables / "scrubbed_reports", columns=["text"]).column("text").to_pylist()
    assert len(texts) > 90
    assert sum(heading in text for text in texts) == len(texts)
    (release,) = pq.read_table(tables / "releases").to_pylist()
    made = small.run("-m", "fine_tune_assets.cli.main", "keys", "create", "tester", "--scope", "chat")
    key = next(word for word in made.stdout.split() if word.startswith("fta_"))
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{small.ports[0]}/v1", api_key=key, max_retries=20, timeout=60)
    assert list(client.models.list())  # waits until the release is live
    answer = client.chat.completions.create(
        model="live", messages=[{"role": "user", "content": question}], max_tokens=8
    )
    assert answer.choices[0].message.content
    assert release["release_id"] in small.run("-m", "fine_tune_assets.cli.main", "status").stdout
