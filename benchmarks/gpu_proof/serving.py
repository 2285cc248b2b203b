"""Slice `serving`: an 8B model through the gateway, compared with its engine alone, and a switch under load.

During the switch, both engines are on one card.
"""

import asyncio
import time
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.gpu_proof.comparison import GATEWAY_SHARE, ratio
from benchmarks.gpu_proof.gpu_memory import MemoryWatch
from benchmarks.gpu_proof.random_models import TINY, make_model
from benchmarks.gpu_proof.results import Figures, SliceRun
from benchmarks.gpu_proof.serving_setup import Serving, open_gateway
from benchmarks.serving_load import Burst, combine_bursts, count_ends, run_burst, steady_load

SHAPE = "Llama-3-8B"
STREAMS = (1, 8, 32, 128, 256)
_TWICE_UP_TO = 32
_LOAD = 16


def run(proof: SliceRun, scratch: Path) -> None:
    shape = TINY if proof.dry else SHAPE
    base = scratch / shape

    def make() -> Figures:
        make_model(shape, base)
        return {"shape": shape}

    if proof.part("model", make, minimum_seconds=60, is_repeated=True) is None:
        return
    with ExitStack() as stack:
        serving = open_gateway(proof, stack, scratch, base, "start")
        if serving is None:
            return
        for streams in (1, 4) if proof.dry else STREAMS:
            tokens = 4 if proof.dry else 128 if streams <= _TWICE_UP_TO else 64
            proof.part(f"streams_{streams}", partial(measure_streams, serving, streams, tokens, proof.dry))
        load = 2 if proof.dry else _LOAD
        proof.part("switch", lambda: asyncio.run(switch_under_load(serving, load)), minimum_seconds=90)


def measure_streams(serving: Serving, streams: int, tokens: int, dry: bool) -> Figures:
    """Engine and gateway in turns; few streams twice, the second time in reverse order, because their figures vary."""
    alone, gateway = serving.engine_alone(1), serving.gateway
    order = [alone, gateway, gateway, alone] if streams <= _TWICE_UP_TO else [alone, gateway]
    seen: dict[str, list[Burst]] = {alone.url: [], gateway.url: []}
    for where in order:
        seen[where.url].append(asyncio.run(run_burst(where, streams, tokens)))
    both = {"alone": combine_bursts(seen[alone.url]), "gateway": combine_bursts(seen[gateway.url])}
    share = ratio(both["gateway"].tokens_per_second, both["alone"].tokens_per_second)
    return {
        "engine": serving.engine,
        "tokens_per_answer": tokens,
        **{name: asdict(burst) for name, burst in both.items()},
        "gateway_share": share,
        "meets_target": None if share is None or dry else share >= GATEWAY_SHARE and both["gateway"].failed == 0,
    }


async def switch_under_load(serving: Serving, load: int) -> Figures:
    """Deploy a second release while streams are active; the first engine stays on standby, so both are on the card."""
    with MemoryWatch() as memory:
        before = memory.used_bytes()
        async with steady_load(serving.gateway, load) as ends:
            began = time.monotonic()
            await asyncio.to_thread(serving.deploy, 2)
            seconds = time.monotonic() - began
            await asyncio.sleep(1)
    found: dict[str, Any] = {"engine": serving.engine, "load": load, "seconds": seconds, **count_ends(ends)}
    peak = memory.peak_bytes
    extra = None if before is None or peak is None else peak - before
    return {**found, "card_bytes_before": before, "card_bytes_at_peak": peak, "switch_bytes": extra}
