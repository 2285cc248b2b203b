"""Nothing leaves: what a user runs on the first day, where only loopback exists, with the same result."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fine_tune_assets_tests.end_to_end.conftest import Small

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

# The kernel counts what finds no way out: every attempt, of whatever program, also a look-up of a name.
ATTEMPTS = (
    "awk '/^Ip:/ && $13 ~ /[0-9]/ {n += $13} /^Ip6OutNoRoutes/ {n += $2} END {print n}' /proc/net/snmp /proc/net/snmp6"
)
PROBE = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))"
"""To an address for documentation (RFC 5737), so that nobody is bothered: shows that attempts are counted."""
COMMANDS = f"""
ip link set lo up
for command in demo demo up status down down; do
    echo "== $command"
    "$0" -m fine_tune_assets.cli.main $command
done
echo "== attempts"; {ATTEMPTS}
"$0" -c "{PROBE}" 2>/dev/null || echo "== attempts with a probe"; {ATTEMPTS}
"""
ALONE = ("unshare", "-rn", "sh", "-ec", COMMANDS)


@dataclass(frozen=True)
class Day:
    """What each command printed, in order, and the installation."""

    small: Small
    printed: list[tuple[str, str]]

    def of(self, command: str) -> list[str]:
        return [text for name, text in self.printed if name == command]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """Without a base model: it is imported from its package there."""
    small = Small(tmp_path_factory.mktemp("alone"))
    done = subprocess.run(
        [*ALONE, sys.executable], env=small.environment, capture_output=True, text=True, check=False, cwd=small.project
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-4000:]
    parts = re.split(r"^== (.+)\n", done.stdout, flags=re.MULTILINE)[1:]
    return Day(small, list(zip(parts[::2], parts[1::2], strict=True)))


def test_the_demo_gives_the_same_release_and_answer_without_a_network(
    day: Day, served: tuple[Small, dict[str, Any]]
) -> None:
    """Equal release ids mean equal weights, prompt and evidence: nothing came from outside, and nothing was missed."""
    first, second = day.of("demo")
    assert served[1]["answer"] in first  # the second may differ: llama.cpp goes on from what it has in its cache
    for shown in (first, second):
        assert served[1]["release"] in shown
        assert "promote" in shown
        assert f"http://127.0.0.1:{day.small.ports[0]}/v1" in shown
        assert f"http://127.0.0.1:{day.small.ports[1]}" in shown
    assert "Everything is up to date." not in first
    assert "Everything is up to date." in second


def test_nothing_even_tried_to_get_out(day: Day) -> None:
    """A program that asks for updates and copes without an answer gives the building away all the same."""
    assert day.of("attempts") == ["0\n"]
    assert int(day.of("attempts with a probe")[0]) > 0


def test_up_starts_everything_and_down_leaves_nothing(day: Day, served: tuple[Small, dict[str, Any]]) -> None:
    """Both may be called again, and no engine, no daemon and no run is left behind."""
    (up,), (status,) = day.of("up"), day.of("status")
    for service in ("supervisor", "gateway", "dagster-webserver", "dagster-daemon"):
        assert re.search(rf"^  {service} +up ", up, re.MULTILINE), up
    assert served[1]["release"] in status
    assert day.of("down") == ["Stopped.\n", "Stopped.\n"]
    own = str(day.small.data).encode()
    left = [p.parent.name for p in Path("/proc").glob("[0-9]*/environ") if own in _read(p)]
    assert left == []


def _read(environ: Path) -> bytes:
    try:
        return environ.read_bytes()
    except OSError:
        return b""
