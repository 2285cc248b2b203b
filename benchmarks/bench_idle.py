"""CPU time and memory of everything that `make up` starts, while nothing changes: services, one engine, the sample reports."""

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import yaml
from bench_new_reports import wait_until_idle
from rich.console import Console
from rich.table import Table
from sample_installation import sample_installation, use

SETTLE_SECONDS, MEASURED_SECONDS = 60.0, 180.0


def main() -> None:
    from fine_tune_assets.cli.asset_commands import run_graph
    from fine_tune_assets.cli.demo.demo_command import deploy_shipped, wait_until_answering
    from fine_tune_assets.cli.service_commands import prepare, prepare_dagster
    from fine_tune_assets.core.shipped_release import find_shipped_release
    from fine_tune_assets.serving.services import known_services, start_services, stop_services

    with sample_installation("bench-idle-") as sample:
        # No training: its base model does not exist.
        recipe = yaml.safe_load(Path("fine_tune_assets/recipes/demo_smollm2.yaml").read_text(encoding="utf-8"))
        recipe["base_model"] = {**recipe.get("base_model", {}), "folder": str(sample.data_dir / "no-such-model")}
        (sample.data_dir / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        settings = use(sample.data_dir, str(sample.data_dir / "recipe.yaml"))
        prepare(settings)
        prepare_dagster(settings, before_daemon=True)
        run_graph(settings, Console(stderr=True))
        start_services(settings, tuple(known_services(settings)))
        try:
            deploy_shipped(settings, find_shipped_release())
            wait_until_answering(settings)
            wait_until_idle(settings)
            time.sleep(SETTLE_SECONDS)
            before = _read_cpu_seconds(settings.data_dir)
            time.sleep(MEASURED_SECONDS)
            after = _read_cpu_seconds(settings.data_dir)
            rows = [_measure(process, seconds - before.get(process, 0.0)) for process, seconds in after.items()]
        finally:
            stop_services(settings, tuple(known_services(settings)))
    rows.append({"process": "total", **{name: round(sum(row[name] for row in rows), 2) for name in list(rows[0])[1:]}})
    table = Table(*rows[0], title=f"Idle for {MEASURED_SECONDS:g} s")
    for row in rows:
        table.add_row(*map(str, row.values()))
    Console().print(table)
    print(json.dumps(rows))


def _read_cpu_seconds(data: Path) -> Mapping[psutil.Process, float]:
    """Of each process of this installation, including children that have ended."""
    found = {}
    for process in _list_processes(data):
        with suppress(psutil.Error):
            found[process] = sum(process.cpu_times()[:4])
    return found


def _list_processes(data: Path) -> set[psutil.Process]:
    """The services, which know the data folder from their environment, and everything that they started."""
    found: set[psutil.Process] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("FINE_TUNE_DATA_DIR") == str(data):
                found |= {process, *process.children(recursive=True)}
    return found - {psutil.Process()}


def _measure(process: psutil.Process, cpu_seconds: float) -> dict[str, object]:
    memory = process.memory_full_info()
    return {
        "process": _name(process),
        "percent of a core": round(100 * cpu_seconds / MEASURED_SECONDS, 2),
        "RSS MB": round(memory.rss / 1e6),
        "PSS MB": round(memory.pss / 1e6),
    }


def _name(process: psutil.Process) -> str:
    """Module and arguments, without paths and options."""
    words = [word for word in process.cmdline()[1:] if word[:1] not in ("-", "/", "")]
    return " ".join(words)[:50] or process.name()


if __name__ == "__main__":
    main()
