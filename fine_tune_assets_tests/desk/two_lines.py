"""A desk with the main line and the line `law`, each with its own users and queue, for tests."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import yaml

from fine_tune_assets.core.files import write_text
from fine_tune_assets.core.product_lines import create_line, link_shared_folders
from fine_tune_assets.core.settings import Settings, select_line
from fine_tune_assets.core.web_services import redact_exceptions
from fine_tune_assets.desk.desk_app import create_app_of_all_lines
from fine_tune_assets_tests.changed_settings import changed
from fine_tune_assets_tests.desk.conftest import Site
from fine_tune_assets_tests.desk.installation import fill
from fine_tune_assets_tests.ledger.new_ledgers import fresh_ledger
from fine_tune_assets_tests.loopback import start_app

LAW = "law"


@dataclass(frozen=True)
class TwoLines:
    main: Site
    law: Site


def add_line(settings: Settings, name: str, count: int = 6) -> Settings:
    """Create a line with `count` notes that wait for review, and return its settings."""
    file = create_line(settings, name, "demo_smollm2")
    line = select_line(settings, name)
    link_shared_folders(line)
    with closing(fresh_ledger(line)) as ledger:
        filled = fill(line, ledger, count=count)
    write_text(file, yaml.safe_dump({"recipe": filled.recipe}))
    return select_line(settings, name)


@contextmanager
def serving_lines(settings: Settings) -> Iterator[TwoLines]:
    """The desk of an installation whose main line has four notes and whose line `law` has six."""
    with closing(fresh_ledger(settings)) as ledger:
        main = changed(settings, recipe=fill(settings, ledger, count=4).recipe)
    law = add_line(main, LAW)
    with ExitStack() as stack:
        app = redact_exceptions(create_app_of_all_lines(main))  # type: ignore[arg-type]
        stack.callback(start_app(app, main.desk.port, log_level="info", proxy_headers=False))
        ledgers = [stack.enter_context(closing(fresh_ledger(line))) for line in (main, law)]
        yield TwoLines(Site(main, ledgers[0]), Site(law, ledgers[1]))
