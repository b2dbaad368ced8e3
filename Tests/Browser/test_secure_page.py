"""The web client over TLS."""

import pytest
from playwright.async_api import expect

from secure_server import Certificates, SecureServer


@pytest.fixture
def secure_server(cluster):
    certificates = Certificates(cluster.folder / "tls")
    server = SecureServer(cluster, "chatd-secure", certificates.settings)
    yield server.start()
    server.stop()


async def test_a_page_over_tls_talks_over_tls(browser, secure_server, room):
    context = await browser.new_context(ignore_https_errors=True)
    page = await context.new_page()
    sockets = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    try:
        await page.goto(f"{secure_server.url}/?room={room}&user=ada")
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await page.locator("#text").fill("secret")
        await page.locator("#text").press("Enter")

        await expect(page.locator(".message")).to_have_attribute("data-state", "stored")
    finally:
        await context.close()

    assert sockets and all(url.startswith("wss://") for url in sockets)
