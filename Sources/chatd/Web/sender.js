// Brings the outbox to the server, one message after the other.

import { byteCount, newMessageID, sendableText } from "./identifiers.js";
import { retryDelay } from "./delays.js";

/** When queued messages are sent again: the server that has them on its disk may never return. */
const QUEUED_AGAIN = 30_000;
/** Errors that are about the message itself: sending it again would not help. */
const FAULTS = new Set(["idConflict", "tooLong", "badMessage", "badFrame", "forbidden"]);

/**
 * Sends what is in the outbox until it is stored. Only one message is on its way at a time, so that
 * one's own messages keep their order whatever fails in between.
 */
export class Sender {
  #outbox;
  #link;
  #inFlight = null;
  #ackTimer = null;
  #pauseTimer = null;
  #queueTimer = null;
  #retries = 0;
  /** When the latest messages were sent: the server takes only so many in a second. */
  #sentAt = [];

  /** @param link `{isLive, limits, patience, write(frame), lost(), changed(entry), settled(id)}` */
  constructor(outbox, link) {
    this.#outbox = outbox;
    this.#link = link;
  }

  /** Puts a message into the outbox; null when there is nothing to send, or no place for it. */
  add(text) {
    const content = sendableText(text);
    if (content === "" || this.#outbox.isFull) return null;
    const entry = this.#outbox.add(newMessageID(), new Date().toISOString(), content);
    this.#link.changed(entry);
    this.#next();
    return entry;
  }

  /** The connection is live again: everything that is not stored is sent (again). */
  start() {
    this.#retries = 0;
    this.#outbox.restart();
    this.#next();
  }

  /** The connection is gone. */
  stop() {
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#pauseTimer);
    this.#pauseTimer = null;
    clearTimeout(this.#queueTimer);
    this.#queueTimer = null;
    this.#inFlight = null;
  }

  acknowledged({ id, level, seq }, upTo) {
    const entry = this.#outbox.get(id);
    if (level === "stored") {
      if (entry) this.#stored(entry, seq, upTo);
    } else if (entry) {
      this.#outbox.queue(id);
      this.#queueTimer ??= setTimeout(() => {
        this.#queueTimer = null;
        this.#outbox.restart();
        this.#next();
      }, QUEUED_AGAIN * (0.5 + Math.random()));
      this.#link.changed({ ...entry, state: "queued" });
    }
    this.#landed(id);
  }

  /** `message` has come back: it is stored, whether its ack arrived or not. */
  saw(message, upTo) {
    const entry = this.#outbox.get(message.id);
    if (!entry || message.seq === undefined) return;
    this.#stored(entry, message.seq, upTo);
    this.#landed(message.id);
  }

  /**
   * Takes an error.
   *
   * @returns whether it was about a message of the outbox, or may have been.
   */
  refused({ code, id, message, retryAfter, temporary }) {
    const subject = id ?? this.#inFlight;
    if (!subject) return false;
    if (FAULTS.has(code) && !temporary) this.#fail(subject, message);
    else if (subject === this.#inFlight) this.#pause(retryAfter ?? retryDelay(this.#retries++));
    return true;
  }

  #next() {
    if (!this.#link.isLive || this.#inFlight || this.#pauseTimer) return;
    const entry = this.#outbox.next();
    if (!entry) return;
    const { id, sentAt, text } = entry;
    const frame = JSON.stringify({ type: "message", id, sentAt, text });
    const { textBytes, frameBytes, messagesPerSecond } = this.#link.limits;
    if (byteCount(text) > textBytes || byteCount(frame) > frameBytes) {
      this.#fail(id, "too long");
      return;
    }
    const now = performance.now();
    this.#sentAt = this.#sentAt.filter((time) => now - time < 1_000);
    if (this.#sentAt.length >= messagesPerSecond) {
      this.#pause(1_000 - (now - this.#sentAt[0]));
      return;
    }
    this.#sentAt.push(now);
    this.#inFlight = id;
    this.#ackTimer = setTimeout(() => this.#link.lost(), this.#link.patience);
    this.#link.write(frame);
  }

  #stored(entry, seq, upTo) {
    this.#outbox.remove(entry.id);
    // Not in the timeline yet: it stays to be seen until it is.
    if (seq > upTo) this.#link.changed({ ...entry, state: "stored", seq });
    else this.#link.settled(entry.id);
  }

  #fail(id, reason) {
    const entry = this.#outbox.fail(id, reason);
    if (entry) this.#link.changed(entry);
    this.#landed(id);
    this.#next();
  }

  /** What was on its way needs no more waiting. */
  #landed(id) {
    if (this.#inFlight !== id) return;
    clearTimeout(this.#ackTimer);
    this.#inFlight = null;
    this.#retries = 0;
    this.#next();
  }

  /** Sends again after a while, the same message with the same id first. */
  #pause(delay) {
    clearTimeout(this.#ackTimer);
    this.#inFlight = null;
    clearTimeout(this.#pauseTimer);
    this.#pauseTimer = setTimeout(() => {
      this.#pauseTimer = null;
      this.#next();
    }, delay);
  }
}
