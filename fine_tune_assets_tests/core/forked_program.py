"""What the tests of the fork server run as `python -m`: the code in the environment variable PROGRAM."""

import os

exec(os.environ["PROGRAM"])
