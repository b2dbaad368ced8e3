"""Pages of other origins, which talk to a server over HTTP: browsers ask it whether they may."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from chat_client import message


class EmptyPage(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><link rel=icon href=data:,>")

    def log_message(self, *words):
        pass


@contextmanager
def site():
    """An origin of its own, with one page."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# What a page gets to know: the status and the answer, or that the browser does not let it.
ASK = """async ([url, method, body]) => {
    try {
        const headers = body ? {"Content-Type": "application/json"} : {};
        const answer = await fetch(url, {method, body, headers});
        const wait = answer.headers.get("Retry-After");
        return {status: answer.status, wait, body: await answer.json()};
    } catch (error) {
        return {refused: error.name};
    }
}"""


@pytest.fixture
def sites():
    with site() as listed, site() as other:
        yield listed, other


@pytest.fixture
def shared(cluster, sites):
    server = cluster.chatd("chatd-shared", CHATD_ALLOWED_ORIGINS=sites[0])
    yield server
    server.stop()


async def open_site(browser, url):
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(url)
    return page


async def test_a_page_of_a_listed_origin_reads_and_writes(browser, shared, sites, room):
    page = await open_site(browser, sites[0])
    url = f"{shared.url}/v1/rooms/{room}/messages?user=ada"
    text = message("from another page")

    written = await page.evaluate(ASK, [url, "POST", json.dumps(text)])
    assert (written["status"], written["body"]["seq"]) == (201, 1)
    read = await page.evaluate(ASK, [url, "GET", None])
    assert [known["id"] for known in read["body"]["messages"]] == [text["id"]]

    # What goes wrong is told to the page, too.
    unfit = await page.evaluate(ASK, [url, "POST", json.dumps(message(""))])
    assert (unfit["status"], unfit["body"]["code"]) == (400, "badMessage")


async def test_a_page_of_another_origin_does_neither(browser, shared, sites, room):
    page = await open_site(browser, sites[1])
    url = f"{shared.url}/v1/rooms/{room}/messages?user=ada"

    assert await page.evaluate(ASK, [url, "POST", json.dumps(message("x"))]) == {"refused": "TypeError"}
    assert await page.evaluate(ASK, [url, "GET", None]) == {"refused": "TypeError"}

    own = await open_site(browser, sites[0])
    read = await own.evaluate(ASK, [url, "GET", None])
    assert read["body"]["messages"] == []
