"""Both of the project's own clients pass the list that docs/protocol.md publishes."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from run import play_all, scripts

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = {
    "ChatClient": ([ROOT / ".build" / "debug" / "ConformanceDriver"], []),
    "client.js": ([sys.executable, Path(__file__).parent / "web_driver.py"], ["shown"]),
}


@pytest.mark.parametrize("client", DRIVERS)
async def test_a_client_conforms(client):
    command, can = DRIVERS[client]
    wanted = [script for script in scripts() if script.get("needs") in [None, *can]]
    faults = []

    def report(script, fault):
        if fault:
            faults.append(f"{script['id']} {script['claim']}: {fault}")

    await play_all(wanted, [str(word) for word in command], 4, report)

    assert not faults, "\n".join(faults)


def test_the_published_list_is_the_list_that_is_played():
    page = (ROOT / "docs" / "protocol.md").read_text()
    published = re.findall(r"^\| (C\d+) \| (.*?) \|$", page, re.MULTILINE)

    assert published == [(script["id"], script["claim"]) for script in scripts()]


async def test_the_list_catches_a_client_that_does_nothing():
    faults = []

    await asyncio.wait_for(
        play_all(
            [script for script in scripts() if script["id"] in ("C01", "C20")],
            [sys.executable, "-c", "import sys\nfor _ in sys.stdin: print('{}', flush=True)"], 2,
            lambda script, fault: faults.append(fault)), 60)

    assert len(faults) == 2
    assert all("no connection" in fault for fault in faults)
