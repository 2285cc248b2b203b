"""`fine-tune doctor`: check this machine, the settings, the recipe and the installation, and say how to fix what is wrong."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import click

from fine_tune_assets.cli.output import json_option, show_rows
from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.line_names import MAIN_LINE, name_line
from fine_tune_assets.core.settings import Settings, list_lines, load_settings, select_line

_MIN_FREE_BYTES = 5_000_000_000
_GB = 1e9


class Finding(NamedTuple):
    check: str
    state: str
    """`ok`, `warning` or `error`."""
    detail: str
    """What was found, and the command or page that helps."""


@click.command()
@json_option
def doctor(is_json: bool) -> None:
    """Check this machine and installation.

    The exit status is 1 if a check finds an error. Warnings name features that are not available here.
    """
    findings = [one._replace(detail=name_line(one.detail)) for one in diagnose()]
    show_rows(
        [one._asdict() for one in findings], {"check": "check", "state": "state", "detail": "detail"}, is_json=is_json
    )
    if any(one.state == "error" for one in findings):
        raise SystemExit(1)


def diagnose() -> Iterator[Finding]:
    yield Finding("python", "ok", sys.version.split()[0])
    try:
        settings = load_settings()
    except FineTuneError as error:
        yield Finding("settings", "error", str(error))
        return
    yield Finding("settings", "ok", f"data folder {settings.data_dir}")
    for name, check in _CHECKS.items():
        try:
            yield check(settings)
        except (FineTuneError, OSError) as error:
            yield Finding(name, "error", str(error))


def _check_data_folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    if not os.access(folder, os.R_OK | os.W_OK):
        return Finding("data folder", "error", f"{folder} is missing or not writable. Set FINE_TUNE_DATA_DIR.")
    free = shutil.disk_usage(folder).free
    state = "ok" if free >= _MIN_FREE_BYTES else "warning"
    return Finding("data folder", state, f"{free / _GB:.0f} GB free")


def _check_recipe(settings: Settings) -> Finding:
    from fine_tune_assets.engines.bundled_model import bundled_gguf
    from fine_tune_assets.recipes.gate_reach import list_obstacles
    from fine_tune_assets.recipes.loader import load_recipe

    found = load_recipe(settings.recipe)
    named = found.base_model.folder
    if named and not (settings.data_dir / named).is_dir():
        hint = f"base model folder {named} is missing; run `fine-tune models import PATH`"
    elif not named and bundled_gguf() is None:
        hint = "the bundled base model is missing; run `make setup`, or set base_model.folder"
    elif obstacles := list_obstacles(found):
        hint = f"no candidate could be promoted: {'; '.join(obstacles)}"
    else:
        return Finding("recipe", "ok", found.name)
    return Finding("recipe", "warning", f"{found.name} is valid; {hint}")


def _check_lines(settings: Settings) -> Finding:
    from fine_tune_assets.recipes.loader import load_line_recipe

    names, faults = list_lines(settings), []
    for name in names:
        try:
            load_line_recipe(select_line(settings.installation, name))
        except FineTuneError as error:
            faults.append(f"{name}: {error}")
    if faults:
        return Finding("product lines", "error", " ".join(faults))
    return Finding("product lines", "ok", ", ".join([MAIN_LINE, *names]))


def _check_ledger(settings: Settings) -> Finding:
    from fine_tune_assets.ledger.database import open_ledger
    from fine_tune_assets.ledger.people.users import list_users

    if (path := _ledger_file(settings)) is not None and not path.is_file():
        return Finding("ledger", "ok", f"{path} will be created by the first command that needs it")
    with closing(open_ledger(settings)) as ledger:
        users = len(list_users(ledger))
    if not users:
        return Finding("ledger", "ok", "no users yet: `fine-tune users link` or `fine-tune users add`")
    return Finding("ledger", "ok", f"{users} users")


def _ledger_file(settings: Settings) -> Path | None:
    """None if the ledger is a database on a server. Opening a missing file would create it."""
    from sqlalchemy import make_url

    url = make_url(settings.database_url)
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def _check_keys(settings: Settings) -> Finding:
    open_files = [path.name for path in settings.layout.keys.glob("*.key") if path.stat().st_mode & 0o077]
    if open_files:
        return Finding("keys", "error", f"readable by others: {', '.join(open_files)}. Run `chmod 600` on them.")
    return Finding("keys", "ok", str(settings.layout.keys))


def _check_file_modes(settings: Settings) -> Finding:
    """Folders that an earlier version made under a lax umask; new ones are private."""
    layout, home = settings.layout, settings.dagster.home
    ours = (
        *(layout.tables, layout.base_models, layout.adapters, layout.weights, layout.releases, layout.instruction_sets),
        *(layout.cache, layout.run, home / "history", home / "schedules", home / "storage"),
    )
    is_open = [str(folder) for folder in ours if folder.is_dir() and folder.stat().st_mode & 0o077]
    if is_open:
        return Finding("file modes", "warning", f"open to other users; run `chmod -R go= {' '.join(is_open)}`")
    return Finding("file modes", "ok", "accessible to this user only")


def _check_engine(settings: Settings) -> Finding:
    from fine_tune_assets.engines.llama_cpp import find_llama_server

    server = find_llama_server(settings.llama.server)
    is_bundled = server is None and find_spec("xllamacpp") is not None
    found = [f"llama.cpp ({server or 'bundled'})"] if server or is_bundled else []
    found += [f"vLLM ({settings.vllm.python})"] if settings.vllm.python and Path(settings.vllm.python).exists() else []
    if not found:
        return Finding(
            "engines",
            "error",
            "no engine found: install xllamacpp, or set FINE_TUNE_LLAMA_SERVER or FINE_TUNE_VLLM_PYTHON",
        )
    return Finding("engines", "ok", ", ".join(found))


def _check_gpu(_settings: Settings) -> Finding:
    from fine_tune_assets.engines.vllm import has_gpu

    return (
        Finding("gpu", "ok", "available")
        if has_gpu()
        else Finding("gpu", "warning", "no GPU; training runs on the CPU")
    )


def _check_ocr(_settings: Settings) -> Finding:
    from fine_tune_assets.reports.ocr import find_ocr

    if find_ocr() is None:
        return Finding("ocr", "warning", "scanned pages are unreadable; install tesseract-ocr")
    return Finding("ocr", "ok", "tesseract")


def _check_confinement(settings: Settings) -> Finding:
    """Tries it: a process like those that read files attempts to list the keys and to open a socket."""
    from fine_tune_assets.core.processes.confined_process import probe_confinement
    from fine_tune_assets.core.processes.confinement import Means

    keys = settings.layout.keys
    found = probe_confinement(str(keys if keys.is_dir() else settings.data_dir))
    reached = [what for what, is_open in (("keys", found.reads_secret), ("the network", found.opens_socket)) if is_open]
    detail = f"in force: {', '.join(sorted(found.means)) or 'none'}"
    if not reached:
        return Finding("confinement", "ok", detail)
    missing = ", ".join(sorted(set(Means) - found.means)) or "none"
    hint = "See docs/how-to/run-as-a-service.md."
    return Finding(
        "confinement",
        "error" if settings.require_confinement else "warning",
        f"a process that reads files can reach {' and '.join(reached)}; {detail}; missing: {missing}. {hint}",
    )


def _check_services(settings: Settings) -> Finding:
    from fine_tune_assets.serving.services import read_service_states

    states = read_service_states(settings)
    stuck = [one.name for one in states if one.is_running and not one.is_up]
    if stuck:
        return Finding("services", "warning", f"starting or stuck: {', '.join(stuck)}. See `fine-tune status`.")
    up = [one.name for one in states if one.is_up]
    return Finding("services", "ok", f"up: {', '.join(up)}" if up else "stopped; run `fine-tune up`")


_CHECKS: dict[str, Callable[[Settings], Finding]] = {
    "data folder": _check_data_folder,
    "recipe": _check_recipe,
    "product lines": _check_lines,
    "ledger": _check_ledger,
    "keys": _check_keys,
    "file modes": _check_file_modes,
    "engines": _check_engine,
    "gpu": _check_gpu,
    "ocr": _check_ocr,
    "confinement": _check_confinement,
    "services": _check_services,
}
