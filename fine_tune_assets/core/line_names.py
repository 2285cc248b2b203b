"""Names of product lines, and where they are read. Imports nothing, because the command line reads it at each start."""

import re

LINE_VARIABLE = "FINE_TUNE_LINE"
"""Environment variable with the line that a process works on; empty: the main line."""
MAIN_LINE = "main"
LINE_FILE = "line.yaml"
"""In the line's folder."""
LINE_NAME = re.compile(r"(?!(?:main|live|recipe)$)[a-z][a-z0-9_]{1,19}")
"""A name is part of asset keys, folders and model names. `main` is the installation's own line, `live` a
model name, and keys of the main line start with `recipe`."""
