"""Releases that vLLM serves as an adapter: finds the base model and the vLLM process, which all product lines share."""

from functools import lru_cache
from pathlib import Path

from fine_tune_assets.core.errors import FineTuneError
from fine_tune_assets.core.fingerprints import fingerprint_folder, fingerprint_json, read_states, short
from fine_tune_assets.core.releases.release_folders import WEIGHTS, ReleaseFolder
from fine_tune_assets.core.settings import Settings
from fine_tune_assets.engines.running_server import EngineError
from fine_tune_assets.engines.shared_vllm import ADAPTER_FILES, SharedEngine
from fine_tune_assets.recipes.export_settings import LORA_SAFETENSORS
from fine_tune_assets.recipes.loader import load_recipe


def shared_root(settings: Settings) -> Path:
    """The run folders and sockets of shared processes; the supervisors of all lines use it."""
    return settings.installation.layout.run / "shared"


def is_adapter(release: ReleaseFolder) -> bool:
    return release.manifest.get("format") == LORA_SAFETENSORS


def find_shared_engine(release: ReleaseFolder, settings: Settings) -> SharedEngine:
    """The process for the release's base model, which may not run yet. Raises EngineError if the base model is not installed."""
    base, root = find_base_folder(release, settings), shared_root(settings)
    prefix = f"{WEIGHTS}/"
    model_files = {
        name: value
        for name, value in release.manifest["files"].items()
        if name.startswith(prefix) and name.removeprefix(prefix) not in ADAPTER_FILES
    }
    same = [
        release.manifest["base_fingerprint"],
        model_files,
        settings.vllm.model_dump(),
        settings.engine.context_tokens,
    ]
    return SharedEngine(
        folder=root / short(fingerprint_json(same)),
        sockets=root,
        base=base,
        python=settings.vllm_interpreter,
        context_tokens=settings.engine.context_tokens,
        serving=settings.vllm,
    )


def find_base_folder(release: ReleaseFolder, settings: Settings) -> Path:
    """The folder of the base model, found by its content. Raises EngineError."""
    wanted = str(release.manifest["base_fingerprint"])
    for folder in _list_base_folders(settings):
        if _fingerprint(folder, fingerprint_json(read_states(folder))) == wanted:
            return folder
    raise EngineError(
        f"Release {release.release_id} is an adapter on the base model {release.manifest['base_model']} ({short(wanted)}), which "
        f"is not installed. Set base_model.folder in the recipe to its folder, or build the release without {LORA_SAFETENSORS}."
    )


def _list_base_folders(settings: Settings) -> list[Path]:
    stored = settings.layout.base_models
    found = sorted(path for path in stored.glob("[!.]*") if path.is_dir()) if stored.is_dir() else []
    try:
        named = load_recipe(settings.recipe).base_model.folder
    except FineTuneError:
        named = None
    folder = None if named is None else settings.data_dir / Path(named).expanduser()
    return [*([folder] if folder is not None and folder.is_dir() else []), *found]


@lru_cache(maxsize=16)
def _fingerprint(folder: Path, _states: str) -> str:
    return fingerprint_folder(folder)
