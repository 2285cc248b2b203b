"""Slice `serving`: an 8B model through the gateway, compared with its engine alone, and a switch under load.

During the switch, both engines are on one card.
"""

import asyncio
import math
import time
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path

from benchmarks.gpu_proof.random_models import TINY, make_model
from benchmarks.gpu_proof.results import Figures, SliceRun, ratio
from benchmarks.gpu_proof.serving_setup import Serving, open_gateway
from benchmarks.serving_load import TWICE_UP_TO, compare_bursts, count_ends, steady_load

SHAPE = "Llama-3-8B"
STREAMS = (1, 8, 32, 128, 256)
_LOAD = 16
GATEWAY_SHARE = 0.95
"""Minimum share of the bare engine's tokens per second that the gateway passes on."""


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
            tokens = 4 if proof.dry else 128 if streams <= TWICE_UP_TO else 64
            proof.part(
                f"streams_{streams}", partial(measure_streams, serving, streams, tokens, proof.dry), minimum_seconds=45
            )
        load = 2 if proof.dry else _LOAD
        proof.part("switch", lambda: asyncio.run(switch_under_load(serving, load)), minimum_seconds=120)


def measure_streams(serving: Serving, streams: int, tokens: int, dry: bool) -> Figures:
    began, cpu_began = time.monotonic(), time.process_time()
    both = compare_bursts(serving.engine_alone(1), serving.gateway, streams, tokens)
    client_share = (time.process_time() - cpu_began) / (time.monotonic() - began)
    if any(math.isnan(burst.whole_p50) for burst in both.values()):
        raise RuntimeError(f"In one burst, none of {streams} streams was complete.")
    gateway = both["gateway"]
    share = ratio(gateway.tokens_per_second, both["alone"].tokens_per_second)
    is_whole = not (gateway.failed or gateway.told_to_come_again)
    return {
        "engine": serving.engine,
        "tokens_per_answer": tokens,
        "client_cpu_share": client_share,  # near 1, this program is the limit and not what it measures
        **{name: asdict(burst) for name, burst in both.items()},
        "gateway_share": share,
        "meets_target": None if share is None or dry else share >= GATEWAY_SHARE and is_whole,
    }


def used_card_bytes() -> int | None:
    """Of the first card, by all processes; None without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return int(total - free)


async def sample_memory(samples: list[int]) -> None:
    while (used := used_card_bytes()) is not None:
        samples.append(used)
        await asyncio.sleep(0.2)


async def switch_under_load(serving: Serving, load: int) -> Figures:
    """Deploy a second release while streams are active; the first engine stays on standby, so both are on the card."""
    before = used_card_bytes()
    samples = [] if before is None else [before]
    sampling = asyncio.create_task(sample_memory(samples))
    async with steady_load(serving.gateway, load) as ends:
        began = time.monotonic()
        await asyncio.to_thread(serving.deploy, 2)
        seconds = time.monotonic() - began
        await asyncio.sleep(1)
    sampling.cancel()
    peak = max(samples, default=None)
    return {
        "engine": serving.engine,
        "load": load,
        "seconds": seconds,
        **count_ends(ends),
        "card_bytes_before": before,
        "card_bytes_at_peak": peak,
        "switch_bytes": None if before is None or peak is None else peak - before,
    }
