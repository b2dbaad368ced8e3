// One message as it is seen.

import { clockTime, dayName, isSameDay, wholeTime } from "./dates.js";

/** Messages of one author within this time are shown as one group. */
const GROUP_MILLISECONDS = 5 * 60 * 1_000;
const STATES = {
  sending: { sign: "◌", label: "sending" },
  queued: { sign: "◔", label: "safe, the others see it soon" },
  stored: { sign: "✓", label: "stored" },
  failed: { sign: "!", label: "failed" },
};

export function element(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

/** What a moderator did, in words. */
export function eventWords({ from, event }) {
  const until = event.until ? ` until ${wholeTime(new Date(event.until))}` : "";
  switch (event.kind) {
    case "delete": return `${from} deleted a message`;
    case "mute": return `${from} muted ${event.user}${until}`;
    case "unmute": return `${from} let ${event.user} write again`;
    case "kick": return `${from} sent ${event.user} out${until}`;
    case "unbar": return `${from} let ${event.user} come back`;
    default: return `${from} moderated the room`; // A later version may do more.
  }
}

/** A colour for a name, always the same, as a hue in degrees. */
export function hueOf(name) {
  let hash = 2166136261;
  for (const character of name) hash = Math.imul(hash ^ character.codePointAt(0), 16777619);
  // Steps of the golden ratio keep similar hashes apart.
  return Math.floor(((hash >>> 0) * 0.6180339887) % 1 * 360);
}

/** A round sign with the first letter of `name`, in its colour. */
export function avatar(name) {
  const node = element("span", "avatar", [...name][0]?.toUpperCase() ?? "?");
  node.style.setProperty("--hue", hueOf(name));
  node.setAttribute("aria-hidden", "true");
  return node;
}

/** `text` with its web addresses as links. Nothing in it is ever read as HTML. */
export function linked(text) {
  const fragment = document.createDocumentFragment();
  let end = 0;
  for (const match of text.matchAll(/\bhttps?:\/\/[^\s<>"'`]+/gi)) {
    const address = withoutPunctuation(match[0]);
    if (!URL.canParse(address)) continue;
    fragment.append(text.slice(end, match.index));
    const link = element("a", "", address);
    link.href = address;
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
    fragment.append(link);
    end = match.index + address.length;
  }
  fragment.append(text.slice(end));
  return fragment;
}

/** An address in a sentence ends before the full stop, and before a bracket it did not open. */
function withoutPunctuation(address) {
  let trimmed = address.replace(/[.,:;!?…]+$/u, "");
  while (trimmed.endsWith(")") && trimmed.split("(").length < trimmed.split(")").length) {
    trimmed = trimmed.slice(0, -1).replace(/[.,:;!?…]+$/u, "");
  }
  return trimmed;
}

/**
 * One message in the list: of the timeline, or of one's own outbox.
 *
 * `message` has `id`, `from`, `sentAt` and `text`; `receivedAt`, `seq` and `skewed` when known;
 * `state` and `reason` when it comes from the outbox; `event` when a moderator did something;
 * `deleted`, and `deleter` when his name is known, when a moderator has deleted it.
 */
export class Bubble {
  node;
  message;
  #parts = {};

  constructor(message, isOwn) {
    this.node = element("li", isOwn && !message.event ? "message own" : "message");
    if (message.event) this.#buildEvent(message);
    else this.#build(isOwn, message);
    this.update(message);
  }

  get state() {
    return this.node.dataset.state;
  }

  update(message) {
    this.message = message;
    const { node } = this;
    if (message.deleted) this.#showDeletion(message.deleter);
    const state = message.state ?? "stored";
    node.dataset.id = message.id;
    node.dataset.state = state;
    if (message.seq !== undefined) node.dataset.seq = message.seq;
    this.#parts.sign.textContent = STATES[state].sign;
    this.#parts.sign.setAttribute("aria-label", STATES[state].label);
    this.#parts.sign.title = STATES[state].label;
    this.#showFailure(state === "failed" ? message.reason ?? "refused" : null);
    this.#showTime();
  }

  /** Decides, by the message before it, whether it begins a day or a group. */
  follow(previous) {
    const date = this.#date;
    const isNewDay = !previous || !isSameDay(previous.#date, date);
    const isGrouped = !isNewDay && !this.message.event && !previous.message.event
      && previous.message.from === this.message.from
      && date - previous.#date < GROUP_MILLISECONDS;
    this.#parts.day.hidden = !isNewDay;
    if (isNewDay) this.#parts.day.textContent = dayName(date);
    this.node.classList.toggle("grouped", isGrouped);
  }

  /** When the server received it: what days and groups go by. */
  get #date() {
    return new Date(this.message.receivedAt ?? this.message.sentAt);
  }

  /** The text leaves the page; who has deleted it takes its place. */
  #showDeletion(deleter) {
    this.node.classList.add("deleted");
    this.#parts.remove?.remove();
    this.#parts.body.textContent = deleter ? `deleted by ${deleter}` : "deleted";
  }

  /** Says why the message was refused, and what can be done with it. */
  #showFailure(reason) {
    this.#parts.failure?.remove();
    this.#parts.failure = undefined;
    if (reason === null) return;
    const failure = element("div", "failure");
    failure.append(element("span", "reason", `Not sent: ${reason}`));
    for (const action of ["Edit", "Discard"]) {
      const button = element("button", "", action);
      button.type = "button";
      button.dataset.action = action.toLowerCase();
      failure.append(button);
    }
    this.#parts.stack.append(failure);
    this.#parts.failure = failure;
  }

  #showTime() {
    const { sentAt, receivedAt, skewed } = this.message;
    // A clock that is far off is not worth showing.
    const date = new Date(skewed ? receivedAt : sentAt);
    if (Number.isNaN(date.valueOf())) return; // No clock shows it.
    this.#parts.time.dateTime = date.toISOString();
    this.#parts.time.textContent = clockTime(date);
    this.#parts.time.title = skewed
      ? `${wholeTime(date)} (received; the sender's clock is wrong)` : wholeTime(date);
  }

  #build(isOwn, { from, text }) {
    const day = element("h2", "day");
    const row = element("div", "row");
    const stack = element("div", "stack");
    const bubble = element("div", "bubble");
    const body = element("div", "text");
    body.dir = "auto";
    body.append(linked(text));
    const meta = element("span", "meta");
    const time = element("time");
    const sign = element("span", "sign");
    sign.setAttribute("role", "img");
    meta.append(time, isOwn ? sign : "");
    bubble.append(body, meta);
    const author = element("span", isOwn ? "unseen" : "author", isOwn ? "You" : from);
    author.style.setProperty("--hue", hueOf(from));
    // Seen by moderators alone.
    const remove = element("button", "remove", "Delete");
    remove.type = "button";
    remove.dataset.action = "delete";
    stack.append(author, bubble, remove);
    if (!isOwn) row.append(avatar(from));
    row.append(stack);
    this.node.append(day, row);
    Object.assign(this.#parts, { day, stack, time, sign, body, remove });
  }

  #buildEvent(message) {
    const day = element("h2", "day");
    const body = element("p", "text", eventWords(message));
    body.dir = "auto";
    this.node.classList.add("event");
    this.node.append(day, body);
    // No clock and no sign are shown.
    Object.assign(this.#parts, { day, body, time: element("time"), sign: element("span") });
  }
}
