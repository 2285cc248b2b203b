"""The summary of `fine-tune demo`: metrics from the tables, and one question answered through the gateway."""

import secrets
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from fine_tune_assets.cli.identity import operating_system_user
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.desk.gateway_client import make_gateway_tls
from fine_tune_assets.judging.judges.grades import JudgeKind, describe_blind_spots
from fine_tune_assets.ledger.database import open_ledger
from fine_tune_assets.ledger.people.api_keys import create_key, revoke_key
from fine_tune_assets.phi.measurement.recall import lowest_recall

QUESTION = """Name the section of the note.

Doctor: Have you had any surgeries?
Patient: I had my appendix out when I was twelve."""
ANSWER_SECONDS = 120


class DemoError(FineTuneError):
    """The served model did not answer."""


def ask_the_model(settings: Settings) -> str:
    """The answer to QUESTION, through the gateway, with a temporary API key. Raises DemoError without an answer."""
    by = operating_system_user()
    with closing(open_ledger(settings)) as ledger:
        key = create_key(ledger, f"demo-{secrets.token_hex(4)}", scopes=("chat",), by=by)
        try:
            return _ask(settings, key.secret)
        finally:
            revoke_key(ledger, key.key_id, by=by)


def _ask(settings: Settings, secret: str) -> str:
    try:
        response = httpx.post(
            f"{settings.desk_gateway_address}/v1/chat/completions",
            headers={"Authorization": f"Bearer {secret}"},
            json={
                "model": "live",
                "messages": [{"role": "user", "content": QUESTION}],
                "max_tokens": 96,
                "temperature": 0,
            },
            timeout=ANSWER_SECONDS,
            verify=make_gateway_tls(settings),
            trust_env=False,  # a proxy would receive the key and the question
        )
    except httpx.HTTPError as error:
        raise DemoError(f"The gateway does not answer ({type(error).__name__}). See `fine-tune status`.") from error
    if response.status_code != 200:
        raise DemoError(f"The gateway answered {response.status_code}. See `fine-tune status`.")
    return str(response.json()["choices"][0]["message"]["content"]).strip()


def read_summary(tables: Path) -> dict[str, str]:
    """Label → value, from the Parquet tables. For a candidate that is not deployed, up to its verdict."""
    adapter, verdict = _row(tables, "adapters"), _row(tables, "promotion_verdicts")
    approvals = _value(tables, "approved_examples", "count(*)")
    return {
        "reports read": str(_value(tables, "reports", "count(*)")),
        "identifiers removed": str(_value(tables, "phi_spans", "count(*)")),
        "share of labelled identifiers removed": f"{lowest_recall(pq.read_table(tables / 'scrub_recall')):.3f}",
        "duplicates dropped": str(_value(tables, "duplicate_reports", "count(*)")),
        "examples approved": f"{approvals} of {_value(tables, 'drafted_examples', 'count(*)')} drafted",
        "instruction set": _splits(tables),
        "training loss": f"{adapter['first_train_loss']:.3f} → {adapter['last_train_loss']:.3f}",
        "validation loss": f"{adapter['first_validation_loss']:.3f} → {adapter['best_validation_loss']:.3f}",
        "training": f"{adapter['duration_seconds']:.0f} s, {adapter['peak_memory_bytes'] / 1e9:.1f} GB",
        "judge agreement with clinicians": _agreement(tables),
        **{f"judge score of the {model}": _score(mean) for model, mean in _mean_scores(tables).items()},
        "the judge": _blind_spots(tables),
        "verdict": f"{verdict['decision']}: {verdict['reasons'][0]}",
        **_release_figures(tables, verdict["verdict_id"]),
    }


def _release_figures(tables: Path, verdict_id: str) -> dict[str, str]:
    """Metrics of the release with this verdict; empty without a release."""
    if not any((tables / "releases").glob("*.parquet")):
        return {}
    merged, export, release = (_row(tables, name) for name in ("merged_weights", "quantized_weights", "releases"))
    if release["verdict_id"] != verdict_id:
        return {}
    return {
        "merged weights differ by": f"{merged['mean_kl']:.6f} nats per token",
        f"export {export['format']} differs by": f"{export['mean_kl']:.6f} nats per token",
        "release": release["release_id"],
    }


def _row(tables: Path, name: str) -> dict[str, Any]:
    found: Any = duckdb.sql("from read_parquet($1)", params=[str(tables / name / "*.parquet")])
    return dict(found.to_arrow_table().to_pylist()[0])


def _value(tables: Path, name: str, expression: str, column: str = "", value: str = "") -> Any:
    where = f" where {column} = ?" if column else ""
    arguments = [str(tables / name / "*.parquet"), *([value] if column else [])]
    rows = duckdb.execute(f"select {expression} from read_parquet(?){where}", arguments).fetchall()
    return rows[0][0] if rows else None


def _mean_scores(tables: Path) -> dict[str, float | None]:
    """Model → mean grade, or None without grades: base model, adapter and, if different, the incumbent."""
    rows = duckdb.execute(
        "select model, avg(score) from read_parquet(?) group by model order by model = 'adapter', model",
        [str(tables / "judge_scores" / "*.parquet")],
    ).fetchall()
    names = {"base": "base model", "incumbent": "previous model"}
    return {names.get(model, model): mean for model, mean in rows}


def _blind_spots(tables: Path) -> str:
    """What the judge of the answers does not see."""
    kind: JudgeKind = _value(tables, "judge_scores", "any_value(judge_kind)")
    return f"{kind}. {describe_blind_spots(kind, has_reference=True)}"


def _splits(tables: Path) -> str:
    rows = duckdb.execute(
        "select split, count(*) from read_parquet(?) group by split order by split desc",
        [str(tables / "instruction_sets" / "*.parquet")],
    ).fetchall()
    return ", ".join(f"{count} {split}" for split, count in rows)


def _agreement(tables: Path) -> str:
    value = _value(tables, "judge_agreement", "spearman", "human_measure", "FactualF1")
    return "missing" if value is None else f"{value:.2f}"


def _score(value: float | None) -> str:
    return "missing" if value is None else f"{value:.2f} of 10"


def print_summary(
    console: Console, settings: Settings, answer: str, answering: str, stopped: str, seconds: float, has_ui: bool
) -> None:
    """`answering`: the production model. `stopped`: why the newest candidate is not deployed and the next step, or empty."""
    shown = Table("", "", show_header=False, title="From raw reports to a served model")
    for name, value in read_summary(settings.layout.tables).items():
        shown.add_row(name, value)
    endpoint = f"{settings.gateway_address}/v1"
    shown.add_row("endpoint", endpoint)
    shown.add_row("this run", f"{seconds:.0f} s")
    console.print(shown)
    below = ["", "Question", QUESTION, "", "Answer", answer, ""] if answer else [""]
    below += ["The newest candidate is not deployed.", stopped, ""] if stopped else []
    below += [f"Production  {answering}"]
    below += [f"Dagster UI  {settings.dagster_address}"] if has_ui else []
    below += [
        f"Endpoint    {endpoint}",
        "API key     .venv/bin/fine-tune keys create my-laptop --scope chat --scope correct",
        "Stop        make down",
    ]
    for line in below:
        console.print(line, markup=False, highlight=False, soft_wrap=True)  # no line breaks, so that it can be copied
