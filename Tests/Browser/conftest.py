"""A real browser on a real chat: one cluster, one chatd, Chromium without a window."""

import os
import sys
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "EndToEnd"))

from cluster import Cluster  # noqa: E402

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


@pytest.fixture(scope="session")
def cluster():
    cluster = Cluster(shards=2)
    try:
        yield cluster.start()
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def server(cluster):
    return cluster.chatd("chatd-web")


@pytest.fixture
def room(cluster):
    return cluster.new_room()


@pytest_asyncio.fixture(scope="session")
async def browser():
    # Chromium's own sandbox refuses root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        await browser.close()


@pytest_asyncio.fixture
async def open_page(browser, server):
    """`await open_page("/?room=lobby&user=ada")` opens a page as a person of its own."""
    faults = []

    async def open_page(path, at=server, **options):
        options.setdefault("viewport", {"width": 1000, "height": 700})
        context = await browser.new_context(**options)
        context.set_default_timeout(20_000)
        page = await context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if is_fault(line) else None)
        await page.goto(at.url + path)
        return page

    yield open_page
    for context in browser.contexts:
        await context.close()
    assert faults == []


def is_fault(line):
    """Errors of the page; not those of a network that a test has cut."""
    return line.type == "error" and "net::" not in line.text and "WebSocket" not in line.text


@pytest.fixture
def picture():
    """`await picture(page, "name")` keeps a screenshot for the curious, if they named a folder."""
    folder = os.environ.get("SCREENSHOT_DIR")

    async def picture(page, name):
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            await page.screenshot(path=Path(folder) / f"{name}.png")

    return picture
