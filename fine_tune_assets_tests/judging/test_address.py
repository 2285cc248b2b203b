"""Which servers may be asked: nothing of a report leaves the network."""

from urllib.parse import urlsplit

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.judging.judges.registry import require_inside


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://localhost:8000/v1",
        "https://10.1.2.3/v1",
        "http://192.168.0.7:8000/v1",
        "http://[::1]:8000/v1",
        "https://[fd00::7]/v1",
        "http://100.64.0.9/v1",
    ],
)
def test_addresses_inside_of_a_network_may_be_asked(url: str) -> None:
    """Each form in which a private address is written; refused, it would raise."""
    require_inside(url)
    with pytest.raises(SettingsError):
        require_inside(url.replace(urlsplit(url).netloc, "8.8.8.8"))


@pytest.mark.parametrize(
    "url", ["https://1.1.1.1/v1", "http://172.32.0.1/v1", "https://[2a00:1450::1]/v1", "http://[::ffff:8.8.8.8]/v1"]
)
def test_public_addresses_may_not(url: str) -> None:
    """Encrypted or not: who answers there is not the hospital."""
    with pytest.raises(SettingsError, match="would leave the network"):
        require_inside(url)


@pytest.mark.parametrize("url", ["judge.intranet/v1", "file:///etc/passwd", "http://", "https:///v1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="must begin with http"):
        require_inside(url)
