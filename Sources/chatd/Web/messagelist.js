// The messages of a room on the page, and where the reader is among them.

import { Bubble } from "./bubble.js";

/** The list is cut to the second number when it is longer than the first and at its end. */
const KEPT = { most: 2_000, after: 1_500 };
/** The same while the reader is somewhere above. */
const KEPT_ABOVE = { most: 8_000, after: 6_000 };
/** So near to the end, in pixels, the reader is at the end. */
const END = 48;
/** So near to the beginning older messages are loaded. */
const BEGINNING = 600;

/** Shows what a `ChatClient` has: its timeline, what waits for a `seq`, and its outbox. */
export class MessageList {
  #client;
  #scroller;
  #list;
  #button;
  #beginning;
  /** By id, all that are shown. */
  #bubbles = new Map();
  /** Ids of what is not in the timeline, in the order in which it is shown. */
  #pending = new Set();
  #isAtEnd = true;
  #unread = 0;

  /** @param onEdit called with the text of a message that is taken back into the input. */
  constructor(client, { scroller, list, button, beginning, onEdit }) {
    this.#client = client;
    this.#scroller = scroller;
    this.#list = list;
    this.#button = button;
    this.#beginning = beginning;
    this.#listenToClient();
    this.#listenToReader(onEdit);
    for (const entry of client.outbox.entries) this.#showPending(entry);
  }

  toEnd() {
    this.#isAtEnd = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#unread = 0;
    this.#showButton();
  }

  #listenToClient() {
    const on = (type, handler) =>
      this.#client.addEventListener(type, (event) => handler(event.detail));
    on("reset", ({ messages }) => this.#reset(messages));
    on("append", ({ messages }) => this.#append(messages));
    on("prepend", ({ messages }) => this.#prepend(messages));
    on("trim", ({ messages }) => this.#trim(messages));
    on("pending", ({ entry }) => this.#showPending(entry));
    on("deleted", ({ id }) => this.#delete(id));
    on("settled", ({ id }) => this.#settle(id));
    on("waiting", () => this.#showWaiting());
    on("history", () => this.#showBeginning());
  }

  #listenToReader(onEdit) {
    this.#scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.#button.addEventListener("click", () => this.toEnd());
    this.#list.addEventListener("click", ({ target }) => {
      const { action } = target.dataset;
      if (!action) return;
      const entry = this.#client.discard(target.closest(".message").dataset.id);
      if (action === "edit" && entry) onEdit(entry.text);
    });
    const observer = new ResizeObserver(() => {
      if (this.#isAtEnd) this.toEnd();
    });
    observer.observe(this.#scroller);
    observer.observe(this.#list);
  }

  // Where the reader is

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const distance = scrollHeight - clientHeight - scrollTop;
    this.#isAtEnd = distance < END;
    if (this.#isAtEnd) this.#unread = 0;
    this.#showButton();
    if (scrollTop < BEGINNING) this.#client.loadOlder();
  }

  /** Changes what is above the reader without moving what he reads. */
  #keepingPlace(change) {
    const { scrollTop, scrollHeight } = this.#scroller;
    change();
    if (this.#isAtEnd) this.toEnd();
    else this.#scroller.scrollTop = scrollTop + this.#scroller.scrollHeight - scrollHeight;
  }

  #fill() {
    const { scrollHeight, clientHeight } = this.#scroller;
    if (scrollHeight < clientHeight + BEGINNING) this.#client.loadOlder();
  }

  #showButton() {
    const count = this.#unread;
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const isFar = scrollHeight - clientHeight - scrollTop > 2 * clientHeight;
    this.#button.hidden = this.#isAtEnd || (count === 0 && !isFar);
    this.#button.textContent = count === 0 ? "↓ To the newest"
      : count === 1 ? "↓ 1 new message" : `↓ ${count} new messages`;
  }

  #showBeginning() {
    const { timeline, isLoadingOlder, room } = this.#client;
    const isEmpty = this.#bubbles.size === 0;
    this.#beginning.hidden = !timeline.isLoaded || !(timeline.isWhole || isLoadingOlder);
    this.#beginning.textContent = isLoadingOlder ? "Loading earlier messages…"
      : isEmpty ? "Nobody has written here yet. Say hello!" : `This is where ${room} begins.`;
  }

  // Messages

  #reset(messages) {
    for (const [id, bubble] of this.#bubbles) {
      const { state, seq } = bubble.message;
      const isDone = state === "stored" && seq <= this.#client.timeline.upTo;
      if (!this.#pending.has(id) || isDone) this.#remove(id);
    }
    this.#insert(messages);
    this.toEnd();
    this.#fill();
  }

  #append(messages) {
    this.#insert(messages);
    this.#showBeginning();
    const { user } = this.#client;
    if (this.#isAtEnd) {
      this.toEnd();
    } else {
      this.#unread += messages.filter((message) => message.from !== user).length;
      this.#showButton();
    }
    const { most, after } = this.#isAtEnd ? KEPT : KEPT_ABOVE;
    if (this.#client.timeline.messages.length > most) this.#client.trim(after);
  }

  /** Puts messages behind those of the timeline and before those that wait. */
  #insert(messages) {
    for (const message of messages) {
      const known = this.#bubbles.get(message.id);
      this.#pending.delete(message.id);
      known?.update(message);
      const bubble = known ?? this.#make(message);
      const [firstPending] = this.#pending;
      const next = firstPending === undefined ? null : this.#bubbles.get(firstPending).node;
      const oldNext = known?.node.nextElementSibling;
      if (!known || known.node.nextElementSibling !== next) {
        this.#list.insertBefore(bubble.node, next);
        this.#decorate(oldNext);
      }
      this.#decorate(bubble.node);
      this.#decorate(next);
    }
  }

  #prepend(messages) {
    this.#keepingPlace(() => {
      const first = this.#list.firstElementChild;
      const bubbles = messages.map((message) => this.#make(message));
      this.#list.prepend(...bubbles.map((bubble) => bubble.node));
      for (const bubble of bubbles) this.#decorate(bubble.node);
      this.#decorate(first);
    });
    this.#fill();
  }

  #trim(messages) {
    this.#keepingPlace(() => {
      for (const message of messages) this.#remove(message.id);
      this.#decorate(this.#list.firstElementChild);
    });
  }

  #showPending(entry) {
    const message = { ...entry, from: this.#client.user };
    const known = this.#bubbles.get(entry.id);
    if (known) {
      known.update(message);
      return;
    }
    this.#pending.add(entry.id);
    const bubble = this.#make(message);
    this.#list.append(bubble.node);
    this.#decorate(bubble.node);
    this.#showBeginning();
    if (this.#isAtEnd) this.toEnd();
  }

  #delete(id) {
    const bubble = this.#bubbles.get(id);
    bubble?.update({ ...bubble.message, text: "", deleted: true });
  }

  #settle(id) {
    if (this.#pending.has(id)) this.#remove(id);
  }

  /** Messages of others that no shard has stored yet come last, in the order of their arrival. */
  #showWaiting() {
    for (const message of this.#client.timeline.unsequenced) {
      if (this.#bubbles.has(message.id)) continue;
      this.#pending.add(message.id);
      const bubble = this.#make({ ...message, state: "sending" });
      this.#list.append(bubble.node);
      this.#decorate(bubble.node);
    }
    if (this.#isAtEnd) this.toEnd();
  }

  #make(message) {
    const bubble = new Bubble(message, message.from === this.#client.user);
    this.#bubbles.set(message.id, bubble);
    return bubble;
  }

  #remove(id) {
    const bubble = this.#bubbles.get(id);
    if (!bubble) return;
    const next = bubble.node.nextElementSibling;
    bubble.node.remove();
    this.#bubbles.delete(id);
    this.#pending.delete(id);
    this.#decorate(next);
  }

  #decorate(node) {
    if (!node) return;
    const previous = node.previousElementSibling;
    this.#bubbles.get(node.dataset.id)
      .follow(previous ? this.#bubbles.get(previous.dataset.id) : undefined);
  }
}
