"""Judge addresses: text of reports must not leave the network."""

from urllib.parse import urlsplit

import pytest

from fine_tune_assets.core.errors import SettingsError
from fine_tune_assets.judging.judges.judge_registry import require_private_address


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
def test_private_addresses_are_accepted(url: str) -> None:
    """Every notation of a private address."""
    require_private_address(url)
    with pytest.raises(SettingsError):
        require_private_address(url.replace(urlsplit(url).netloc, "8.8.8.8"))


@pytest.mark.parametrize(
    "url", ["https://1.1.1.1/v1", "http://172.32.0.1/v1", "https://[2a00:1450::1]/v1", "http://[::ffff:8.8.8.8]/v1"]
)
def test_public_addresses_are_refused(url: str) -> None:
    """Also with encryption, because the server is outside the organization."""
    with pytest.raises(SettingsError, match="FINE_TUNE_JUDGE_URL"):
        require_private_address(url)


@pytest.mark.parametrize("url", ["judge.intranet/v1", "file:///etc/passwd", "http://", "https:///v1"])
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="FINE_TUNE_JUDGE_URL"):
        require_private_address(url)
