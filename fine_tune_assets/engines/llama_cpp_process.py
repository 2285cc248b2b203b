"""Runs llama.cpp's server from the package `xllamacpp` as a process: `python -m … CONFIG`. Started by `llama_cpp`.

The config uses the option names of llama-server.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

_LOG_LEVEL = 2
"""llama.cpp's log level. At a higher level, each request writes several lines."""


def server_parameters(options: dict[str, Any]) -> Any:
    """Turns off everything but answering: web UI, tools, slots, metrics, downloads."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = options["model"]
    parameters.model_alias = {options["alias"]}
    parameters.hostnames = [options["host"]]
    parameters.port = options["port"]
    parameters.api_keys = [Path(options["api-key-file"]).read_text(encoding="utf-8").strip()]
    parameters.n_ctx = options["ctx-size"]
    parameters.n_parallel = options["parallel"]
    parameters.cpuparams.n_threads = options["threads"]
    parameters.cpuparams_batch.n_threads = options["threads"]
    parameters.n_gpu_layers = options["n-gpu-layers"]
    parameters.cache_ram_mib = options["cache-ram"]
    if options["batch-size"]:
        parameters.n_batch = parameters.n_ubatch = options["batch-size"]
    parameters.no_extra_bufts = options["no-repack"]
    if options["lora"]:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(options["lora"], 1.0)]
    if options["chat-template-file"]:
        parameters.chat_template = Path(options["chat-template-file"]).read_text(encoding="utf-8")
    parameters.fit_params = False  # otherwise it shrinks the context if memory is short
    parameters.verbosity = _LOG_LEVEL
    parameters.offline = True
    parameters.ui = parameters.ui_mcp_proxy = False
    parameters.endpoint_slots = parameters.endpoint_props = parameters.endpoint_metrics = False
    parameters.server_tools = []
    return parameters


def serve(config: Path) -> int:
    """Serve until SIGTERM or SIGINT. Returns 1 if the model cannot be loaded."""
    import xllamacpp

    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # inherited by the server's threads
    options = json.loads(config.read_text(encoding="utf-8"))
    try:
        server = xllamacpp.Server(server_parameters(options))
    except RuntimeError as error:
        print(f"llama.cpp could not serve {Path(options['model']).name} ({error}).", file=sys.stderr)
        return 1
    print("serving", flush=True)
    signal.sigwait(signals)
    sys.stdout.flush()
    del server
    return 0


if __name__ == "__main__":
    os._exit(serve(Path(sys.argv[1])))  # without teardown, because server threads may still be writing
