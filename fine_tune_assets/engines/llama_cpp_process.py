"""llama.cpp's server from the package `xllamacpp`, as a process: `python -m … CONFIG`. Started by `llama_cpp`.

The config uses the names of llama-server's command line.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

_WARNINGS = 2
"""llama.cpp's log level. Above it each request writes several lines."""


def parameters_of(options: dict[str, Any]) -> Any:
    """Everything that the server could do beyond answering is turned off: pages, tools, slots, downloads."""
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
    if options["lora"]:
        parameters.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(options["lora"], 1.0)]
    parameters.fit_params = False  # it would shrink the context where memory is short
    parameters.verbosity = _WARNINGS
    parameters.offline = True
    parameters.ui = parameters.ui_mcp_proxy = False
    parameters.endpoint_slots = parameters.endpoint_props = parameters.endpoint_metrics = False
    parameters.server_tools = []
    return parameters


def serve(config: Path) -> int:
    """Until SIGTERM or SIGINT. Returns 1 if the model cannot be loaded."""
    import xllamacpp

    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # inherited by the server's threads
    options = json.loads(config.read_text(encoding="utf-8"))
    try:
        server = xllamacpp.Server(parameters_of(options))
    except RuntimeError as error:
        print(f"llama.cpp could not serve {Path(options['model']).name} ({error}).", file=sys.stderr)
        return 1
    print("serving", flush=True)
    signal.sigwait(signals)
    sys.stdout.flush()
    del server
    return 0


if __name__ == "__main__":
    os._exit(serve(Path(sys.argv[1])))  # its threads may still be about to write an answer
