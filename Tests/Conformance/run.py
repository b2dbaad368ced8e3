#!/usr/bin/env python3
"""Runs the conformance list against a client: `run.py [--only C01,C02] [--jobs 4] -- COMMAND…`

COMMAND is started once for each job and driven by lines of JSON; docs/protocol.md says how, under
"Conformance". Ends with 0 when every script passes.
"""

import argparse
import asyncio
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from player import Player  # noqa: E402

SCRIPTS = Path(__file__).resolve().parent / "scripts"
#: Seconds for the answer to the first command, the start of a browser included, and to others.
START_PATIENCE = 60
ANSWER_PATIENCE = 10
#: Seconds for a whole script.
SCRIPT_PATIENCE = 60


def scripts():
    """All scripts, in the order of their ids."""
    found = [one for file in SCRIPTS.glob("*.json") for one in json.loads(file.read_text())]
    return sorted(found, key=lambda script: script["id"])


class Driver:
    """The client under test: a process that answers each line with one line."""

    def __init__(self, command):
        self.command = command
        self.process = None

    async def ask(self, command):
        patience = ANSWER_PATIENCE if self.process else START_PATIENCE
        if self.process is None:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                limit=1 << 24)
        try:
            self.process.stdin.write(json.dumps(command).encode() + b"\n")
            await self.process.stdin.drain()
            line = await asyncio.wait_for(self.process.stdout.readline(), patience)
        except (TimeoutError, ConnectionError) as error:
            raise AssertionError(f"the driver gives no answer: {error!r}") from None
        assert line, f"the driver has ended, after {json.dumps(command)}"
        return json.loads(line)

    async def stop(self):
        if self.process is None:
            return
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 20)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        self.process = None


async def play(script, driver):
    """Why the client does not conform, in words; None when it does."""
    try:
        async with asyncio.timeout(SCRIPT_PATIENCE):
            await Player(script, driver).play()
    except AssertionError as error:
        return str(error)
    except TimeoutError:
        return f"no end within {SCRIPT_PATIENCE} s"
    return None


async def play_all(wanted, command, jobs, report):
    """Plays scripts beside each other; `report(script, fault)` is called for each."""
    waiting = list(reversed(wanted))

    async def work():
        driver = Driver(command)
        while waiting:
            script = waiting.pop()
            fault = await play(script, driver)
            report(script, fault)
            if fault is not None:
                await driver.stop()  # The next script begins with a clean one.
        await driver.stop()

    await asyncio.gather(*(work() for _ in range(min(jobs, len(wanted)))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="ids of scripts, with commas between")
    parser.add_argument("--jobs", type=int, default=4, help="clients beside each other")
    parser.add_argument(
        "--can", default="", help="what the driver can do beyond the list: shown")
    parser.add_argument("--list", action="store_true", help="prints the list and ends")
    parser.add_argument("command", nargs="*", help="starts the driver")
    options = parser.parse_args()
    wanted = scripts()
    if options.list:
        for script in wanted:
            print(script["id"], script["claim"])
        return 0
    if options.only:
        ids = options.only.split(",")
        wanted = [script for script in wanted if script["id"] in ids]
    can = options.can.split(",")
    wanted = [script for script in wanted if script.get("needs") in [None, *can]]
    if not options.command or not wanted:
        parser.error("name the command that starts the driver, and scripts that exist")
    faults = []

    def report(script, fault):
        print("FAIL" if fault else "ok  ", script["id"], script["claim"], flush=True)
        if fault:
            print("     ", fault, flush=True)
            faults.append(script["id"])

    asyncio.run(play_all(wanted, options.command, options.jobs, report))
    print(f"{len(wanted) - len(faults)} of {len(wanted)} passed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
