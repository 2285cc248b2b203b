"""Creates the folder of a further product line: its settings, and links to what all lines share.

Lines share base models, general data, labelled sets, taggers, verifiers and the scrubber's cache. Everything else is a line's
own: ledger, keys, tables, releases. A line that needs labelled sets or general data of its own replaces the link with a folder.
"""

import os
from pathlib import Path

import yaml

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.line_names import LINE_FILE, LINE_NAME
from fine_tune_assets.core.settings import Settings, select_line

SHARED_FOLDERS = ("base_models", "general", "evaluation", "tagger_training", "taggers", "verifiers", "cache/scrubbed")
"""Below the data folder."""
_RAW_REPORTS = "raw_reports"


def create_line(
    settings: Settings, name: str, recipe: str, *, reports_of: str | None = None, ledger_url: str = ""
) -> Path:
    """Write `line.yaml` of a new line, and return it. Raises SettingsError, and leaves no file behind.

    `reports_of`: the line whose batch folders this one reads too; empty: the main line; None: batch folders of its own.
    """
    main = settings.installation.layout
    if not LINE_NAME.fullmatch(name):
        raise SettingsError(
            f"{name!r} is not a valid product line name. Use 2 to 20 lowercase letters, digits and `_`."
        )
    folder = main.lines / name
    if (folder / LINE_FILE).exists():
        raise SettingsError(f"The product line {name} exists. Its settings are in {folder / LINE_FILE}.")
    if reports_of is not None:
        source = main.lines / reports_of if reports_of else main.data_dir
        if reports_of and not (source / LINE_FILE).is_file():
            raise SettingsError(f"There is no product line {reports_of} to read the reports of.")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _link(folder / _RAW_REPORTS, source / _RAW_REPORTS)
    file = folder / LINE_FILE
    write_text(file, yaml.safe_dump({"recipe": recipe, **({"ledger_url": ledger_url} if ledger_url else {})}))
    try:
        select_line(settings.installation, name)
    except SettingsError:
        file.unlink()
        raise
    return file


def link_shared_folders(settings: Settings) -> None:
    """Link what a line shares with the others, where the line has none of its own. Does nothing for the main line."""
    if not settings.line:
        return
    main, own = settings.installation.layout, settings.layout
    for name in SHARED_FOLDERS:
        _link(own.data_dir / name, main.data_dir / name)


def _link(link: Path, folder: Path) -> None:
    """A relative link, so that the data folder can move. Keeps what exists."""
    folder.mkdir(parents=True, exist_ok=True)
    if not link.exists() and not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(folder, link.parent))
