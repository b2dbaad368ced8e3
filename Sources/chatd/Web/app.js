// The page: a start page without a room in the address, else the room.

import { avatar, element, eventWords } from "./bubble.js";
import { ChatClient } from "./client.js";
import { byteCount, roomNameProblem, sendableText, userNameProblem } from "./identifiers.js";
import { MessageList } from "./messagelist.js";

const NAME_KEY = "chat.name";
/** How long somebody who is typing is shown as such, in milliseconds. */
const TYPING_SHOWN = 5_000;

/** What a token looks like; other characters cannot be sent. */
const TOKEN_ADDRESS = /^#token=([\w-]+\.[\w-]+\.[\w-]+)$/;

const byID = (id) => document.getElementById(id);
const storage = usableStorage();

/** `localStorage`, or null where the browser forbids it. */
function usableStorage() {
  try {
    localStorage.setItem("chat.probe", "");
    localStorage.removeItem("chat.probe");
    return localStorage;
  } catch {
    return null;
  }
}

// Tokens

/** The token in the address, which it is taken out of: it must not be shown, shared or kept. */
function takeToken() {
  const token = TOKEN_ADDRESS.exec(location.hash)?.[1] ?? null;
  if (location.hash.startsWith("#token=")) {
    history.replaceState(null, "", location.pathname + location.search);
  }
  return token;
}

/** The name in a token; empty when there is none. Whether it is true is the server's affair. */
function subject(token) {
  try {
    const base64 = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes));
    return typeof sub === "string" ? sub : "";
  } catch {
    return "";
  }
}

// Start page

function showStart({ room, user, roomProblem = null, userProblem = null }) {
  byID("chat").hidden = true;
  byID("start").hidden = false;
  document.title = "Join a room";
  const fields = { room: byID("room-field"), user: byID("user-field") };
  fields.room.value = room;
  fields.user.value = user;
  showProblem("room", roomProblem);
  showProblem("user", userProblem);
  fields.user.readOnly = token !== null;
  byID("start-form").addEventListener("submit", (event) => {
    const problems = [
      showProblem("room", roomNameProblem(fields.room.value = fields.room.value.trim())),
      showProblem("user", userNameProblem(fields.user.value = fields.user.value.trim())),
    ];
    if (problems.some((isBad) => isBad)) {
      event.preventDefault();
      fields[problems[0] ? "room" : "user"].focus();
    } else if (token !== null) {
      // The way of forms would lose the token.
      event.preventDefault();
      history.replaceState(null, "", `/?room=${encodeURIComponent(fields.room.value)}`);
      new RoomPage(fields.room.value, fields.user.value);
    } else {
      storage?.setItem(NAME_KEY, fields.user.value);
    }
  });
  fields[room === "" || roomProblem ? "room" : "user"].focus();
}

function showProblem(field, problem) {
  byID(`${field}-problem`).textContent = problem ?? "";
  byID(`${field}-field`).setAttribute("aria-invalid", String(problem !== null));
  return problem !== null;
}

// Room

class RoomPage {
  #client;
  #messages;
  #typing = new Map();
  #countdown = null;
  #unreadWhileHidden = 0;

  constructor(room, user) {
    this.#client = new ChatClient({ room, user, token, storage, timers: wakefulTimers() });
    byID("start").hidden = true;
    byID("chat").hidden = false;
    byID("room-name").textContent = room;
    this.#showTitle();
    this.#messages = new MessageList(this.#client, {
      scroller: byID("scroller"), list: byID("messages"), button: byID("new-messages"),
      beginning: byID("beginning"), onEdit: (text) => this.#edit(text),
    });
    this.#listen();
    this.#prepareComposer();
    this.#preparePeople();
    this.#client.connect();
    if (matchMedia("(pointer: fine)").matches) byID("text").focus();
  }

  #listen() {
    const client = this.#client;
    const on = (type, handler) => client.addEventListener(type, (event) => handler(event.detail));
    on("state", (state) => this.#showState(state));
    on("append", ({ messages }) => this.#announce(messages));
    on("people", () => this.#showPeople());
    // What was said last may be what was deleted.
    on("emptied", () => this.#say("A message was deleted."));
    on("refused", ({ message }) => this.#warn(`Not done: ${message}`));
    on("typing", ({ from }) => this.#showTyping(from));
    byID("banner-retry").addEventListener("click", () => client.connect());
    addEventListener("online", () => client.wake());
    addEventListener("hashchange", () => {
      const fresh = takeToken();
      if (fresh !== null) client.renew(fresh);
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) return;
      this.#unreadWhileHidden = 0;
      this.#showTitle();
      client.wake();
    });
  }

  // Connection

  #showState({ name, code, reason, retryAt }) {
    clearInterval(this.#countdown);
    for (const name of this.#typing.keys()) this.#stopTyping(name);
    byID("connection").dataset.state = name;
    byID("banner").hidden = true;
    switch (name) {
      case "connecting": return this.#showConnection("connecting…");
      case "live":
        this.#say("Connected.");
        return this.#showConnection("live");
      case "offline":
        this.#say("Connection lost. Messages are kept and sent later.");
        this.#countDown(retryAt);
        this.#countdown = setInterval(() => this.#countDown(retryAt), 500);
        return undefined;
      default: return this.#showEnd(code, reason);
    }
  }

  #countDown(retryAt) {
    const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1_000));
    this.#showConnection(`offline, back in ${seconds} s`);
  }

  #showConnection(text) {
    byID("connection-text").textContent = text;
  }

  /** The server does not want this connection again: the reason decides what can be done. */
  #showEnd(code, words) {
    const { room, user } = this.#client;
    const reason = words?.replace(/^(user|room): /, "");
    this.#showConnection("not connected");
    if (code === 4401 && token === null) {
      const userProblem = reason || "The server asks for your name again.";
      showStart({ room, user, userProblem });
    } else if (code === "badRoom") {
      showStart({ room, user, roomProblem: reason || "The server refused this room." });
    } else {
      const fact = code === 4403 && /by a moderator/.test(reason) ? "You are not let in."
        : code === 4403 ? "You have no right to enter this room."
        : code === 4401 ? "The server asks for a fresh token." : "Disconnected";
      this.#warn(reason ? `${fact} (${reason})` : fact);
    }
  }

  #warn(words) {
    byID("banner-text").textContent = words;
    byID("banner").hidden = false;
  }

  // Writing

  #prepareComposer() {
    const text = byID("text");
    text.addEventListener("input", () => {
      this.#measure();
      if (text.value.trim() !== "") this.#client.typing();
    });
    text.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    byID("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.#measure();
  }

  #send() {
    const text = byID("text");
    if (byID("send").disabled) return;
    if (!this.#client.send(text.value)) return;
    text.value = "";
    this.#measure();
    this.#messages.toEnd();
    text.focus();
  }

  /** The input grows with its text, and counts bytes when they become few. */
  #measure() {
    const text = byID("text");
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + 2}px`;
    const content = sendableText(text.value);
    const bytes = byteCount(content);
    const most = this.#client.hello.limits.textBytes;
    const counter = byID("byte-count");
    counter.hidden = bytes < most * 0.8;
    counter.textContent = bytes <= most
      ? `${(most - bytes).toLocaleString("en")} bytes left`
      : `${(bytes - most).toLocaleString("en")} bytes too long`;
    counter.classList.toggle("over", bytes > most);
    byID("send").disabled = content === "" || bytes > most;
  }

  /** Takes a text back into the input, after what is there already. */
  #edit(content) {
    const text = byID("text");
    text.value = text.value === "" ? content : `${text.value}\n${content}`;
    this.#measure();
    text.focus();
  }

  // People

  #preparePeople() {
    const toggle = byID("people-toggle");
    const close = (isOpen) => {
      byID("chat").classList.toggle("people-open", isOpen);
      toggle.setAttribute("aria-expanded", String(isOpen));
    };
    toggle.addEventListener("click", () =>
      close(!byID("chat").classList.contains("people-open")));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close(false);
    });
    byID("scroller").addEventListener("click", () => close(false));
  }

  #showPeople() {
    const { people, peopleCount, user } = this.#client;
    byID("people-short").textContent = peopleCount;
    byID("people-count").textContent = peopleCount;
    const names = [...people].sort((one, other) =>
      (other === user) - (one === user) || one.localeCompare(other));
    byID("people-list").replaceChildren(...names.map((name) => {
      const item = element("li");
      const label = element("span", "name", name);
      label.dir = "auto";
      item.append(avatar(name), label);
      if (name === user) item.append(element("span", "you", "you"));
      item.dataset.name = name;
      return item;
    }));
    const others = peopleCount - people.size;
    byID("people-note").hidden = others <= 0;
    byID("people-note").textContent = people.size === 0
      ? "With so many people only the count is told." : `and ${others} more`;
    if (people.size < peopleCount) return;
    for (const name of this.#typing.keys()) if (!people.has(name)) this.#stopTyping(name);
  }

  #showTyping(name) {
    if (name === this.#client.user) return;
    clearTimeout(this.#typing.get(name));
    this.#typing.set(name, setTimeout(() => this.#stopTyping(name), TYPING_SHOWN));
    this.#describeTyping();
  }

  #stopTyping(name) {
    clearTimeout(this.#typing.get(name));
    if (this.#typing.delete(name)) this.#describeTyping();
  }

  #describeTyping() {
    const names = [...this.#typing.keys()];
    byID("typing").textContent = names.length === 0 ? ""
      : names.length === 1 ? `${names[0]} is typing…`
      : names.length === 2 ? `${names[0]} and ${names[1]} are typing…`
      : `${names.length} people are typing…`;
  }

  // What others wrote, for ears and for the tab

  #announce(messages) {
    const others = messages.filter((message) => message.from !== this.#client.user);
    for (const { from } of messages) this.#stopTyping(from);
    if (others.length === 0) return;
    const last = others.at(-1);
    this.#say(others.length === 1
      ? last.event ? eventWords(last) : `${last.from}: ${last.text.slice(0, 300)}`
      : `${others.length} new messages, the last one from ${last.from}`);
    if (document.hidden) {
      this.#unreadWhileHidden += others.length;
      this.#showTitle();
    }
  }

  #say(words) {
    byID("announcer").textContent = words;
  }

  #showTitle() {
    const count = this.#unreadWhileHidden;
    document.title = count > 0 ? `(${count}) ${this.#client.room}` : this.#client.room;
  }
}

/** Timers that run while the page is hidden; the page's own ones where there are no workers. */
function wakefulTimers() {
  let worker;
  try {
    worker = new Worker("ticker.js");
  } catch {
    return undefined;
  }
  const handlers = new Map();
  let last = 0;
  worker.onmessage = ({ data: number }) => {
    const handler = handlers.get(number);
    handlers.delete(number);
    handler?.();
  };
  // A worker that cannot be loaded fires nothing; the page's own timers take over.
  worker.onerror = () => { worker = null; restartAll(); };
  const restartAll = () => {
    for (const [number, handler] of handlers) {
      handlers.delete(number);
      setTimeout(handler, 1_000);
    }
  };
  return {
    set(handler, delay) {
      if (!worker) return { own: setTimeout(handler, delay) };
      last += 1;
      handlers.set(last, handler);
      worker.postMessage({ number: last, delay });
      return { number: last };
    },
    clear(handle) {
      if (!handle) return;
      if (handle.own !== undefined) return clearTimeout(handle.own);
      handlers.delete(handle.number);
      worker?.postMessage({ number: handle.number });
    },
  };
}

const parameters = new URLSearchParams(location.search);
const room = (parameters.get("room") ?? "").trim();
const token = takeToken();
const user = token !== null ? subject(token)
  : (parameters.get("user") ?? storage?.getItem(NAME_KEY) ?? "").trim();
const roomProblem = room === "" ? null : roomNameProblem(room);
const userProblem = user === "" ? null : userNameProblem(user);
if (room === "" || user === "" || roomProblem || userProblem) {
  showStart({ room, user, roomProblem, userProblem });
} else {
  if (token === null) storage?.setItem(NAME_KEY, user);
  new RoomPage(room, user);
}
