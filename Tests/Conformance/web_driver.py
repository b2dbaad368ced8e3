"""Lets the conformance list drive the web client's module, in Chromium."""

import asyncio
import json
import os
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.async_api import Error, async_playwright

WEB = Path(__file__).resolve().parents[2] / "Sources" / "chatd" / "Web"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
#: What a page has to have for `client.js`, with a hand on it; bubbles show what the client has.
PAGE = """<!doctype html><meta charset="utf-8"><ol id="list"></ol><script type="module">
import { ChatClient } from "/client.js";
import { Bubble } from "/bubble.js";
let client;
const list = document.getElementById("list");
globalThis.drive = (command) => {
  switch (command.do) {
    case "start": {
      client?.close();
      const { room, user, token = null, servers: base, patience } = command;
      client = new ChatClient({ room, user, token, base, patience });
      client.connect();
      break;
    }
    case "send": client.send(command.text); break;
    case "typing": client.typing(); break;
    case "older": client.loadOlder(); break;
    case "token": client.renew(command.token); break;
    case "close": client.close(); break;
    case "view": return view();
    default: throw new Error(`${command.do} is no command`);
  }
  return { ok: true };
};
function view() {
  const { messages: placed, unsequenced } = client.timeline;
  const messages = placed.concat(unsequenced).filter(({ event }) => !event);
  list.replaceChildren(...messages.map((message) => new Bubble(message, false).node));
  const shown = [...list.querySelectorAll(".text")].map((node) => node.textContent);
  const foreign = list.querySelectorAll("img, script, b, [onerror], [href^='javascript']").length;
  return {
    connection: client.state.name,
    messages: messages.map(({ id, seq, from, text, deleted = false }) =>
      ({ id, seq, from, text, deleted })),
    pending: client.outbox.entries.map(({ id, text, state, isQueued }) =>
      ({ id, text, state: isQueued ? "queued" : state })),
    people: [...client.people].sort(), peopleCount: client.peopleCount,
    shown, foreign: foreign + Number(document.title === "lost"),
  };
}
globalThis.isReady = true;
</script>"""


class Files(SimpleHTTPRequestHandler):
    """The web client's own files, and the page that drives them."""

    def do_GET(self):
        if self.path != "/drive":
            super().do_GET()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, *words):
        pass


async def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(WEB)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # Chromium's own sandbox refuses root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = await browser.new_page()
        page.on("pageerror", lambda error: print(f"the page: {error}", file=sys.stderr))
        await page.goto(f"http://127.0.0.1:{server.server_port}/drive")
        await page.wait_for_function("globalThis.isReady")
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            try:
                answer = await page.evaluate("(command) => drive(command)", json.loads(line))
            except Error as error:
                print(f"the page: {error}", file=sys.stderr)
                break  # Nobody waits for an answer that does not come.
            print(json.dumps(answer), flush=True)
        await browser.close()
    server.shutdown()


asyncio.run(main())
