"""Makes what this project writes accessible to its user only. Imports nothing, so that every entry point can call it first."""

import os


def keep_files_private() -> None:
    """From here on, new files and folders of this process and its children have mode 0600 and 0700."""
    os.umask(0o077)
