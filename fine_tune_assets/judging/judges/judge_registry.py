"""Opens the judge that a recipe names, from a JSON request that is built from settings and recipe.

An endpoint must have a private address. A server started for a judge is stopped when the judge is closed.
"""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.keys import read_secret
from fine_tune_assets.core.processes.worker_requests import JudgeFields
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.chat_client import ChatServer, SettingNames
from fine_tune_assets.judging.judges.grade_cache import CACHE_FILE, GradeCache
from fine_tune_assets.judging.judges.grades import Judge
from fine_tune_assets.judging.judges.judge_models import EndpointModel, FolderModel, JudgeModel
from fine_tune_assets.judging.judges.judge_requests import Retries
from fine_tune_assets.judging.judges.judge_weights import find_weights
from fine_tune_assets.judging.judges.label_grades import labels_by_task
from fine_tune_assets.judging.judges.llm_judge import LlmJudge
from fine_tune_assets.judging.judges.llm_reader import LlmReader
from fine_tune_assets.judging.judges.rubrics import Rubric, read_recipe_rubric
from fine_tune_assets.judging.judges.statement_judge import StatementJudge
from fine_tune_assets.judging.judges.statement_readers import StatementReader
from fine_tune_assets.judging.judges.verifier.verifier_reader import open_verifier
from fine_tune_assets.recipes.domain_packs import load_pack
from fine_tune_assets.recipes.schema import Recipe, RubricCriterion

RUN_FOLDER = "judges"
RETRY_PAUSE_SECONDS = 0.5
_SETTING_NAMES = SettingNames(url="FINE_TUNE_JUDGE_URL", key="FINE_TUNE_JUDGE_API_KEY_FILE", model="judge.model")


def judge_request(settings: Settings, recipe: Recipe) -> JudgeFields:
    """The input of `open_judge`, as JSON. It names the key file, not the key, because Dagster stores requests."""
    layout, judge = settings.layout, recipe.judge
    return {
        "kind": judge.kind,
        "rubric": [vars(criterion) for criterion in read_recipe_rubric(recipe)],
        "checks": list(load_pack(recipe.domain).pack.checks),
        "labels": labels_by_task(recipe),
        "verifier": str(layout.data_dir / judge.verifier) if judge.verifier else "",
        "backend": judge.backend,
        "model": str(layout.data_dir / judge.model) if judge.backend == "folder" else judge.model,
        "concurrency": judge.concurrency,
        "retries": judge.retries,
        "pause_seconds": RETRY_PAUSE_SECONDS,
        "context_tokens": judge.context_tokens,
        "template_kwargs": dict(judge.template_kwargs),
        "url": settings.judge.url,
        "key_file": settings.judge.api_key_file,
        "vllm_python": str(settings.vllm_interpreter),
        "threads": settings.threads,
        "llama_server": settings.llama.server,
        "cache": str(layout.cache / CACHE_FILE),
        "weights": str(layout.judge_weights),
        "run_folder": str(layout.run / RUN_FOLDER),
    }


@contextmanager
def open_judge(request: JudgeFields) -> Iterator[Judge]:
    """Open the judge of a `judge_request`, and stop what it started on exit.

    Raises SettingsError or RecipeError if the judge is missing, ChatServerError if it is unreachable.
    """
    rubric: Rubric = tuple(RubricCriterion(**values) for values in request["rubric"])
    if request["kind"] == "verifier":
        verifier = open_verifier(request["verifier"], request["threads"])
        weights = find_weights(Path(request["weights"]), verifier.identity)
        yield StatementJudge("verifier", verifier, rubric, weights, request["checks"], request["labels"])
        return
    model, cache = _judge_model(request), GradeCache(Path(request["cache"]))
    retries = Retries(request["retries"], request["pause_seconds"])
    try:
        if request["kind"] == "rubric":
            yield LlmJudge(model, cache, rubric, request["concurrency"], retries)
            return
        reader = LlmReader(model, cache, request["concurrency"], retries, request["context_tokens"])
        weights = find_weights(Path(request["weights"]), reader.identity)
        yield StatementJudge("statements", reader, rubric, weights, request["checks"], request["labels"])
    finally:
        model.close()
        cache.close()


@contextmanager
def open_statement_reader(request: JudgeFields) -> Iterator[StatementReader]:
    """The reader of statements of a `judge_request`: the judge's own, or the verifier if the judge reads no statements.

    Raises as `open_judge`.
    """
    kind = "verifier" if request["kind"] == "rubric" else request["kind"]
    with open_judge({**request, "kind": kind}) as judge:
        if isinstance(judge, StatementJudge):
            yield judge.reader
        else:
            yield open_verifier(request["verifier"], request["threads"])


def _judge_model(request: JudgeFields) -> JudgeModel:
    if request["backend"] == "folder":
        return FolderModel(
            path=Path(request["model"]),
            run_folder=Path(request["run_folder"]),
            vllm_python=Path(request["vllm_python"]),
            context_tokens=request["context_tokens"],
            threads=request["threads"],
            llama_server=request["llama_server"],
            concurrency=request["concurrency"],
            template_kwargs=request["template_kwargs"],
        )
    if not request["url"]:
        raise SettingsError("The recipe's judge is an endpoint without an address. Set FINE_TUNE_JUDGE_URL.")
    require_private_address(request["url"])
    key = read_secret(request["key_file"], "judge.api_key_file")
    server = ChatServer(
        request["url"].rstrip("/"),
        key,
        request["model"],
        setting_names=_SETTING_NAMES,
        template_kwargs=request["template_kwargs"],
    )
    return EndpointModel(server)


def require_private_address(url: str) -> None:
    """Raise SettingsError unless every address of the URL's host is loopback, private or link-local.

    Requests contain text of reports. The name is resolved once, before anything is sent: this prevents mistakes, not an attacker
    who controls DNS.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("FINE_TUNE_JUDGE_URL must start with http:// or https:// and name a host.")
    try:
        found = {info[4][0] for info in socket.getaddrinfo(parts.hostname, None)}
    except OSError:
        raise SettingsError(
            f"The judge's host {parts.hostname} can't be resolved. Check FINE_TUNE_JUDGE_URL."
        ) from None
    if any(_is_public(str(address)) for address in found):
        raise SettingsError(
            f"The judge's host {parts.hostname} has a public address, so reports would leave the network. Set "
            "FINE_TUNE_JUDGE_URL to a server with a private address, or to a local proxy for your server."
        )


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_global
