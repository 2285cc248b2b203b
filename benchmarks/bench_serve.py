"""Measure concurrent streams through the gateway, switches under load and automatic rollbacks.

Streams are compared with the same engine alone and with transformers one by one. Starts a supervisor, a gateway and engines in a
temporary folder, all on the bundled 135M model; for smaller runs see `--help`. Prints a table, then one JSON line with the load
average: timings on a busy machine mean little. Missed targets are in the line's `off`, and the exit status is then 1.
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

from benchmarks.serving_load import (
    TWICE_UP_TO,
    Reached,
    compare_bursts,
    count_ends,
    open_client,
    reach_engine,
    request_body,
    run_burst,
    steady_load,
)
from fine_tune_assets.core.processes.offline import go_offline
from fine_tune_assets.core.prompts.prompt_contract import read_prompt_contract
from fine_tune_assets.core.releases.release_folders import MODEL, WEIGHTS
from fine_tune_assets.core.settings import Settings, load_settings
from fine_tune_assets.engines.listen_addresses import socket_path
from fine_tune_assets.engines.processes import is_alive, read_identity
from fine_tune_assets.engines.running_server import free_port
from fine_tune_assets.ledger.database import Ledger, open_ledger
from fine_tune_assets.ledger.people.api_keys import create_key
from fine_tune_assets.ledger.serving.deployments import (
    Deployment,
    find_deployment,
    find_live_deployment,
)
from fine_tune_assets.ledger.serving.rollbacks import find_rollback_target
from fine_tune_assets.serving.rollout import deploy_release, roll_back_release
from fine_tune_assets.serving.services import start_services, stop_services
from fine_tune_assets.training.base_models.registration import import_bundled_model
from fine_tune_assets_tests.serving.tiny_releases import link_model, put_release

ENGINES = ("llama_cpp", "llama_server", "vllm")
SERVICES = ("supervisor", "gateway")
SYSTEM = "You write short visit notes."
START_SECONDS = 900.0
BRIEF = 32
"""A line of an answer, such as a chief complaint, has some 20 tokens, a section of a note 100 to 300."""
LEAST_SHARE, AT_STREAMS, MOST_OVERHEAD_MS = 0.95, 32, 5.0
"""Minimum fraction of the bare engine's tokens per second, and maximum milliseconds that the gateway adds to an answer."""
SHORTLY = timedelta(seconds=6)
"""An engine drains for at least 3 seconds, so it stays up briefly and then stops while requests arrive."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--engines",
        nargs="+",
        default=list(ENGINES),
        choices=ENGINES,
        help="engines that are not installed are skipped",
    )
    parser.add_argument("--streams", default="1,8,32,128,256")
    parser.add_argument(
        "--tokens", type=int, default=128, help=f"tokens per answer at up to {TWICE_UP_TO} streams; {BRIEF} with more"
    )
    parser.add_argument("--switches", type=int, default=50)
    parser.add_argument(
        "--full-switches",
        type=int,
        default=10,
        help="switches to a new release that stop the previous engine (not vLLM)",
    )
    parser.add_argument("--load", type=int, default=16)
    parser.add_argument("--automatic", type=int, default=3, help="automatic rollbacks of each kind")
    parser.add_argument("--one-by-one", type=int, default=8)
    given = parser.parse_args()
    go_offline()
    installed = load_settings()
    left_out = {name: why for name in given.engines if (why := _why_not(name, installed))}
    for name, why in left_out.items():
        print(f"{name} is skipped: {why}", file=sys.stderr)
    engines = [name for name in given.engines if name not in left_out]
    if not engines:
        raise SystemExit("Nothing to measure.")
    with tempfile.TemporaryDirectory(prefix="bench-serve-") as scratch:
        base = import_bundled_model(Path(scratch) / "base")
        found: dict[str, Any] = {"load_average": os.getloadavg(), "cores": os.cpu_count(), "tokens": given.tokens}
        found["one_by_one_tokens_per_second"] = _one_by_one(base, given.one_by_one, BRIEF)
        for engine in engines:
            found[engine] = _measure(engine, Path(scratch) / engine, base, given, installed)
    found["off"] = off_target(found)
    _show(found)
    print(json.dumps(found))
    if found["off"]:
        raise SystemExit(1)


def off_target(found: dict[str, Any]) -> list[str]:
    """Describe each missed target; ignores what was not measured."""
    off = []
    for name, value in _engines(found).items():
        for streams, burst in value["bursts"].items():
            alone, through = burst["alone"]["tokens_per_second"], burst["gateway"]["tokens_per_second"]
            if streams == AT_STREAMS and not through >= LEAST_SHARE * alone:
                off.append(f"{name}: {through:.1f} tokens/s of {alone:.1f} at {streams} streams")
            if burst["gateway"]["failed"]:
                off.append(f"{name}: {burst['gateway']['failed']} requests failed at {streams} streams")
        if not value["overhead_p50_ms"] <= MOST_OVERHEAD_MS:
            off.append(f"{name}: the gateway adds {value['overhead_p50_ms']:.1f} ms")
        for part in ("switches", "full_switches"):
            if value[part] is not None and value[part]["failed_or_cut"]:
                off.append(f"{name}: {value[part]['failed_or_cut']} streams failed or were cut in {part}")
    return off


def _engines(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: value for name, value in found.items() if isinstance(value, dict)}


def _why_not(engine: str, installed: Settings) -> str | None:
    if engine == "vllm":
        return None if installed.vllm_interpreter.is_file() else "make setup-vllm"
    if engine == "llama_server":
        return None if installed.llama.server else "FINE_TUNE_LLAMA_SERVER names no program"
    return None


def _measure(engine: str, place: Path, base: Path, given: argparse.Namespace, installed: Settings) -> dict[str, Any]:
    settings = Settings(
        data_dir=place,
        gateway={"port": free_port()},
        vllm={"python": installed.vllm.python},
        llama={"server": installed.llama.server if engine == "llama_server" else ""},
        rollback={"window_minutes": 60, "keep_previous_minutes": -1},
    )
    ledger = open_ledger(settings)
    with _running(settings):
        began = time.monotonic()
        deploy_release(ledger, _release(settings, ledger, engine, base, 1), timeout_seconds=START_SECONDS)
        started = time.monotonic() - began
        gateway = Reached(f"http://127.0.0.1:{settings.gateway.port}/v1", create_key(ledger, "bench", ["chat"]).secret)
        bursts = {}
        alone = reach_engine(settings, ledger, f"{SYSTEM} Release 1.")
        for where in (alone, gateway):  # warm up: a new engine is slower at first
            asyncio.run(run_burst(where, TWICE_UP_TO, BRIEF))
        for streams in map(int, given.streams.split(",")):
            tokens = given.tokens if streams <= TWICE_UP_TO else min(BRIEF, given.tokens)
            found = compare_bursts(alone, gateway, streams, tokens)
            bursts[streams] = {way: asdict(burst) for way, burst in found.items()}
        overhead = asyncio.run(_overhead(gateway, alone))
        switches = asyncio.run(_switches(settings, ledger, gateway, engine, base, given))
        full = None
        if engine != "vllm" and given.full_switches:  # each start of vLLM takes minutes
            full = asyncio.run(_full_switches(settings, ledger, gateway, engine, base, given))
        automatic = _automatic(settings, ledger, gateway, engine, base, given.automatic)
    ledger.close()
    return {
        "start_seconds": started,
        "bursts": bursts,
        "overhead_p50_ms": overhead,
        "switches": switches,
        "full_switches": full,
        "automatic": automatic,
    }


@contextmanager
def _running(settings: Settings) -> Iterator[None]:
    try:
        start_services(settings, SERVICES)
        yield
    finally:
        stop_services(settings, SERVICES)


def _release(settings: Settings, ledger: Ledger, engine: str, base: Path, number: int) -> str:
    def fill(folder: Path) -> None:
        if engine == "vllm":
            shutil.copytree(base, folder / WEIGHTS)
        else:
            link_model(folder / MODEL)

    contract = read_prompt_contract(base, f"{SYSTEM} Release {number}.")
    named = "vllm" if engine == "vllm" else "llama_cpp"
    return put_release(settings, ledger, contract, fill, engine=named, number=number)


def _an_hour() -> timedelta:
    return timedelta(hours=1)


async def _overhead(gateway: Reached, engine: Reached, count: int = 60) -> float:
    """Milliseconds that the gateway adds to the median time of sequential one-token answers. Connections are reused, as by the
    clients of OpenAI and LangChain."""
    times: dict[str, list[float]] = {gateway.url: [], engine.url: []}
    async with open_client(gateway) as to_gateway, open_client(engine) as to_engine:
        for where, client in ((gateway, to_gateway), (engine, to_engine)) * count:
            began = time.monotonic()
            reply = await client.post("chat/completions", json=request_body(where, 1, 1, is_stream=False))
            times[where.url].append(time.monotonic() - began)
            reply.raise_for_status()
    return 1000 * (statistics.median(times[gateway.url][5:]) - statistics.median(times[engine.url][5:]))


async def _switches(
    settings: Settings, ledger: Ledger, gateway: Reached, engine: str, base: Path, given: argparse.Namespace
) -> dict[str, Any]:
    """Switch back and forth between two running engines while streams are active; the second release is new."""
    seconds = []
    async with steady_load(gateway, given.load) as ends:
        if given.switches:
            release_id = _release(settings, ledger, engine, base, 2)
            await asyncio.to_thread(
                deploy_release, ledger, release_id, timeout_seconds=START_SECONDS, retention=_an_hour
            )
        for _ in range(given.switches - 1):
            await asyncio.sleep(0.5)
            back = find_rollback_target(ledger)
            if back is None or not back.is_running:
                raise SystemExit("The other colour is not up.")
            began = time.monotonic()
            await asyncio.to_thread(roll_back_release, ledger, timeout_seconds=60, by="bench", retention=_an_hour)
            seconds.append(time.monotonic() - began)
    return {
        "switches": given.switches,
        **count_ends(ends),
        "rollback_p50_seconds": statistics.median(seconds) if seconds else None,
        "rollback_max_seconds": max(seconds, default=None),
    }


async def _full_switches(
    settings: Settings, ledger: Ledger, gateway: Reached, engine: str, base: Path, given: argparse.Namespace
) -> dict[str, Any]:
    """Switch to a new release on a new engine each time, draining and stopping the previous one, while streams are active."""
    seconds = []
    async with steady_load(gateway, given.load) as ends:
        for number in range(given.full_switches):
            old = find_live_deployment(ledger)
            assert old is not None
            release_id = await asyncio.to_thread(_release, settings, ledger, engine, base, 1000 + number)
            began = time.monotonic()
            await asyncio.to_thread(
                deploy_release, ledger, release_id, timeout_seconds=START_SECONDS, retention=lambda: SHORTLY
            )
            seconds.append(time.monotonic() - began)
            await asyncio.to_thread(_until, lambda: _is_ended(settings, ledger, old.deployment_id), 120.0)  # noqa: B023
    return {"switches": given.full_switches, **count_ends(ends), "p50_seconds": statistics.median(seconds)}


def _is_ended(settings: Settings, ledger: Ledger, deployment_id: str) -> bool:
    deployment = find_deployment(ledger, deployment_id)
    identity = read_identity(settings.layout.run / "engines" / deployment_id / "process.json")
    is_running = identity is not None and is_alive(identity)
    return deployment is not None and deployment.state == "stopped" and not is_running


def _until(is_so: Callable[[], bool], within_seconds: float) -> None:
    began = time.monotonic()
    while not is_so():
        if time.monotonic() - began > within_seconds:
            raise SystemExit("The engine before is not drained and ended.")
        time.sleep(0.1)


def _automatic(
    settings: Settings, ledger: Ledger, gateway: Reached, engine: str, base: Path, count: int
) -> dict[str, Any]:
    """Seconds from the fault to the switch: from the kill of the live engine, and from the end of the request that exceeds the
    limit of failed requests."""
    seconds: dict[str, list[float]] = {"engine killed": [], "limit of failed requests": []}
    for number in range(2 * count):
        kind = list(seconds)[number % 2]
        release_id = _release(settings, ledger, engine, base, 100 + number)
        live = deploy_release(ledger, release_id, timeout_seconds=START_SECONDS, retention=_an_hour)
        if kind == "engine killed":
            identity = read_identity(settings.layout.run / "engines" / live.deployment_id / "process.json")
            assert identity is not None
            os.kill(identity.pid, signal.SIGKILL)
            seconds[kind].append(_seconds_until_left(ledger, live.deployment_id))
        else:
            seconds[kind].append(_fail_requests(settings, ledger, gateway, live))
    return {
        kind: {"median": statistics.median(found), "max": max(found)} if found else None
        for kind, found in seconds.items()
    }


def _fail_requests(settings: Settings, ledger: Ledger, gateway: Reached, live: Deployment) -> float:
    """Every request to the live engine fails, each is answered by the kept one."""
    path = socket_path(live.engine_url or "")
    assert path is not None
    path.unlink()  # the process lives but no longer answers
    body = request_body(gateway, 1, 1, is_stream=False)
    headers = {"Authorization": f"Bearer {gateway.key}"}
    for _ in range(settings.rollback.minimum_requests):
        reply = httpx.post(f"{gateway.url}/chat/completions", json=body, headers=headers, timeout=60, trust_env=False)
        reply.raise_for_status()
    return _seconds_until_left(ledger, live.deployment_id)


def _seconds_until_left(ledger: Ledger, deployment_id: str) -> float:
    began = time.monotonic()
    while (live := find_live_deployment(ledger)) is None or live.deployment_id == deployment_id:
        if time.monotonic() - began > 60:
            raise SystemExit("Users were not taken back within a minute.")
        time.sleep(0.005)
    return time.monotonic() - began


def _one_by_one(base: Path, count: int, tokens: int) -> float | None:
    """Tokens a second of transformers' `generate`, one prompt after another."""
    if not count:
        return None
    from fine_tune_assets.engines.transformers_models import load_model, load_tokenizer

    model, tokenizer = load_model(base).eval(), load_tokenizer(base)
    made, began = 0, 0.0
    for number in range(count + 1):  # the first one warms it up
        if number == 1:
            made, began = 0, time.monotonic()
        messages = request_body(Reached("", "", None, SYSTEM), number, tokens)["messages"]
        prompt = tokenizer.apply_chat_template(
            messages, return_tensors="pt", add_generation_prompt=True, return_dict=True
        )
        output = model.generate(**prompt, max_new_tokens=tokens, do_sample=False)
        made += output.shape[1] - prompt["input_ids"].shape[1]
    return made / (time.monotonic() - began)


def _show(found: dict[str, Any]) -> None:
    table = Table("engine", "streams", "alone, tokens/s", "gateway, tokens/s", "share", "p95 (s)", "failed", "429")
    engines = _engines(found)
    for name, value in engines.items():
        for streams, burst in value["bursts"].items():
            alone, through = burst["alone"]["tokens_per_second"], burst["gateway"]["tokens_per_second"]
            table.add_row(
                name, str(streams), f"{alone:.1f}", f"{through:.1f}", f"{through / alone:.2f}" if alone else "",
                f"{burst['gateway']['whole_p95']:.1f}", str(burst["gateway"]["failed"]),
                str(burst["gateway"]["told_to_come_again"]),
            )  # fmt: skip
    console = Console()
    console.print(table)
    for name, value in engines.items():
        console.print(f"{name}: the gateway adds {value['overhead_p50_ms']:.1f} ms (median); {value['switches']}")
        console.print(f"{name}: to new releases, with the previous engine stopped: {value['full_switches']}")
        console.print(f"{name}: seconds of an automatic rollback: {value['automatic']}")
    console.print(f"transformers one by one: {found['one_by_one_tokens_per_second']} tokens/s")
    console.print(f"Off target: {'; '.join(found['off']) or 'nothing'}")


if __name__ == "__main__":
    main()
