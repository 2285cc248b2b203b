"""Which judge a recipe names: the one place where a judge is made.

Owns what of settings and recipe makes a judge, as a plain request that a worker is sent; that an endpoint lies inside the
network; and that what was started for a judge is stopped. Does not know what is graded.
"""

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.keys import read_secret
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.chat_client import ChatServer, SaidBy
from fine_tune_assets.judging.judges.grade_cache import FILE, GradeCache
from fine_tune_assets.judging.judges.grades import Judge
from fine_tune_assets.judging.judges.judge_models import EndpointModel, FolderModel, JudgeModel
from fine_tune_assets.judging.judges.llm_judge import LlmJudge
from fine_tune_assets.judging.judges.offline_judge import offline_judge
from fine_tune_assets.recipes.schema import JudgeSettings

RUN_FOLDER = "judges"
PAUSE_SECONDS = 0.5
_SAID_BY = SaidBy(url="FINE_TUNE_JUDGE_URL", key="FINE_TUNE_JUDGE_KEY_FILE", model="judge.model")


def judge_request(settings: Settings, judge: JudgeSettings) -> dict[str, Any]:
    """Everything that `judge_of` needs, as JSON. The key itself is not in it: requests are kept by Dagster."""
    layout = settings.layout
    return {
        "kind": judge.kind,
        "model": str(layout.data_dir / judge.model) if judge.kind == "folder" else judge.model,
        "concurrency": judge.concurrency,
        "retries": judge.retries,
        "pause_seconds": PAUSE_SECONDS,
        "context_tokens": judge.context_tokens,
        "url": settings.judge.url,
        "key_file": settings.judge.key_file,
        "vllm_python": str(settings.vllm_interpreter),
        "threads": settings.threads,
        "llama_server": settings.llama.server,
        "cache": str(layout.cache / FILE),
        "run_folder": str(layout.run / RUN_FOLDER),
    }


@contextmanager
def judge_of(request: Mapping[str, Any]) -> Iterator[Judge]:
    """The judge of a `judge_request`. What it had to start is stopped at the end.

    Raises SettingsError or RecipeError if it can't be reached or is not there.
    """
    if request["kind"] == "offline":
        yield offline_judge()
        return
    model, cache = _model(request), GradeCache(Path(request["cache"]))
    try:
        yield LlmJudge(model, cache, request["concurrency"], request["retries"], request["pause_seconds"])
    finally:
        model.close()
        cache.close()


def _model(request: Mapping[str, Any]) -> JudgeModel:
    if request["kind"] == "folder":
        return FolderModel(
            path=Path(request["model"]),
            run_folder=Path(request["run_folder"]),
            vllm_python=Path(request["vllm_python"]),
            context_tokens=request["context_tokens"],
            threads=request["threads"],
            llama_server=request["llama_server"],
            parallel=request["concurrency"],
        )
    if not request["url"]:
        raise SettingsError("The recipe's judge is an endpoint, and nothing says where it is. Set FINE_TUNE_JUDGE_URL.")
    require_inside(request["url"])
    key = read_secret(request["key_file"], "judge.key_file")
    return EndpointModel(ChatServer(request["url"].rstrip("/"), key, request["model"], said_by=_SAID_BY))


def require_inside(url: str) -> None:
    """Raise SettingsError unless every address that the URL's host has lies inside a network: loopback, private, link-local.

    What is sent there is text of reports. Looked up once, before anything is sent: it keeps a mistake out, not somebody who
    rules the network's name service.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError("The judge's address must begin with http:// or https:// and name a host.")
    try:
        found = {info[4][0] for info in socket.getaddrinfo(parts.hostname, None)}
    except OSError:
        raise SettingsError(f"The judge's host {parts.hostname} has no address here.") from None
    if any(_is_public(str(address)) for address in found):
        raise SettingsError(
            f"The judge's host {parts.hostname} has a public address: reports would leave the network. Name a server with a "
            "private address, or a proxy on this machine that leads to one of yours."
        )


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_global
