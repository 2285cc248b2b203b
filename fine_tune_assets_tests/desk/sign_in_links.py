"""Links that sign a person in."""

from urllib.parse import urlsplit

import httpx

from fine_tune_assets_tests.desk.conftest import Site

LINK = "/sign-in/link"


def token_of(address: str) -> str:
    return urlsplit(address).fragment


def use(site: Site, code: str) -> httpx.Response:
    return site.visitor().post(LINK, {"code": code}, page=LINK)
