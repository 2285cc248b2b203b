"""Who runs a command: the operating-system user. A typed name is never recorded as a person's."""

import os
import pwd

from fine_tune_assets.ledger.people.users import OS_PREFIX


def operating_system_user() -> str:
    """`os:NAME`, by the id of this process. Environment variables such as USER are not trusted."""
    user_id = os.getuid()
    try:
        return f"{OS_PREFIX}{pwd.getpwuid(user_id).pw_name}"
    except KeyError:
        return f"{OS_PREFIX}{user_id}"
