"""Runs the code in the environment variable PROGRAM, as `python -m` in the fork server's tests."""

import os

exec(os.environ["PROGRAM"])
