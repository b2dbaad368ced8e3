// The messages of a room in their order.

import { digestOfIDs } from "./identifiers.js";

/** Messages beyond a hole that are kept; what is not kept comes with the page that fills it. */
const EARLY_AT_MOST = 2_000;
/** Deletions that are remembered for messages that come late. */
const DELETIONS_AT_MOST = 10_000;
/** Ids in one report of the founding form. */
const REPORTED = 250;

/**
 * A stretch of the room without holes, from `low` to `upTo`, in the order of `seq`; beside it what
 * arrived beyond a hole (`early`) and what has no `seq` yet (`unsequenced`). No input and output:
 * messages go in, what there is to show comes out.
 */
export class Timeline {
  /** Without holes, oldest first. */
  messages = [];
  /** Everything up to this `seq` is here, or older than the first message here. */
  upTo = 0;
  /** Whether the newest page was read, so that `upTo` means something. */
  isLoaded = false;
  /** Whether nothing is older than the first message here. */
  isWhole = false;
  #ids = new Set();
  /** By the id of the message, the `seq` of the event that deleted it. */
  #deletions = new Map();
  #emptied = [];
  #early = new Map();
  #unsequenced = new Map();

  /** The `seq` of the oldest message here; null when there is none. */
  get low() {
    return this.messages.length > 0 ? this.messages[0].seq : null;
  }

  /** Whether a message is missing below one that is here. */
  get hasGap() {
    return this.isLoaded && this.#early.size > 0;
  }

  /** The highest `seq` beyond a hole; 0 when there is none. */
  get newestEarly() {
    return this.#early.size > 0 ? Math.max(...this.#early.keys()) : 0;
  }

  /** Messages without a `seq`, in the order of their arrival at the server. */
  get unsequenced() {
    return [...this.#unsequenced.values()]
      .sort((one, other) => compare(one.receivedAt, other.receivedAt));
  }

  /** The message here that has this `seq`; undefined when there is none. */
  at(seq) {
    return this.#early.get(seq) ?? this.messages.findLast((message) => message.seq === seq);
  }

  /** The `seq` of the message here that has this id, below the first hole. */
  seqOf(id) {
    return this.#ids.has(id) ? this.messages.findLast((one) => one.id === id)?.seq : undefined;
  }

  /** The message here that has this id, as the server sent it; undefined when there is none. */
  get(id) {
    const lost = this.#unsequenced.get(id);
    if (lost) return lost.lostSeq === undefined ? lost : { ...lost, seq: lost.lostSeq };
    for (const message of this.#early.values()) if (message.id === id) return message;
    return this.#ids.has(id) ? this.messages.findLast((message) => message.id === id) : undefined;
  }

  /**
   * The server has lost the message with this `seq` and all after it, for it gives the number to
   * another one. They stay as messages without a `seq`, until the server has them again.
   */
  lose(first) {
    const early = [...this.#early.values()].filter(({ seq }) => seq >= first);
    const lost = this.messages.filter(({ seq }) => seq >= first).concat(early);
    this.messages = this.messages.filter(({ seq }) => seq < first);
    for (const message of lost) {
      this.#ids.delete(message.id);
      this.#early.delete(message.seq);
      this.#withdraw(message);
    }
    this.upTo = Math.min(this.upTo, first - 1);
  }

  /** A report of everything that is here above `above`, by ids. */
  report(above = this.upTo) {
    const upTo = Math.min(above, this.upTo);
    const place = ({ seq, lostSeq }) => seq ?? lostSeq ?? Infinity;
    const ids = this.messages.filter(({ seq }) => seq > upTo)
      .concat(...this.#early.values(), this.unsequenced)
      .sort((one, other) => place(one) - place(other) || 0)
      .map(({ id }) => id);
    return { amhere: true, msgSeen: ids.slice(0, REPORTED), upTo };
  }

  /**
   * What a heartbeat says: the compact form, at most 64 bytes while every message has its `seq`;
   * above a hole the ids, so that what is here is not sent again.
   */
  heartbeat() {
    if (!this.isLoaded) return { amhere: true };
    if (this.#early.size > 0 && this.#early.size + this.#unsequenced.size <= REPORTED) {
      return this.report();
    }
    const ids = [...this.#unsequenced.keys()];
    const seen = { upTo: this.upTo };
    if (ids.length > 0) Object.assign(seen, { count: ids.length, digest: digestOfIDs(ids) });
    return { amhere: true, seen };
  }

  /**
   * Takes one message.
   *
   * @returns what became showable in order: messages to append, oldest first.
   */
  add(message) {
    if (!Number.isSafeInteger(message.seq)) {
      if (!this.#ids.has(message.id)) this.#unsequenced.set(message.id, message);
      return [];
    }
    this.#unsequenced.delete(message.id);
    if (this.isLoaded && message.seq <= this.upTo) {
      if (message.deleted) this.#delete(message.id, message.deletedBy);
      return [];
    }
    if (this.#early.size < EARLY_AT_MOST) this.#early.set(message.seq, this.#showable(message));
    return this.isLoaded ? this.#drain() : [];
  }

  /** A message that had no `seq` has got one. */
  sequence(id, seq) {
    const message = this.#unsequenced.get(id);
    return message ? this.add({ ...message, seq }) : [];
  }

  /** Starts anew with the newest page of the room. */
  reset(page, isWhole) {
    this.messages = [];
    this.#ids.clear();
    this.upTo = 0;
    this.isLoaded = true;
    this.isWhole = isWhole;
    for (const message of page) this.#push(message);
    this.#drain();
  }

  /**
   * Takes the page that follows `upTo`: the server has nothing between its messages.
   *
   * @param settledUpTo what was early up to here when a whole page was asked for. What the page
   *   lacks of it, the server has lost.
   * @returns messages to append, oldest first.
   */
  appendPage(page, settledUpTo) {
    const added = [];
    for (const message of page) {
      if (message.seq > this.upTo) added.push(...this.#push(message));
    }
    for (const [seq, message] of this.#early) {
      if (seq > settledUpTo) continue;
      this.#early.delete(seq);
      if (!this.#ids.has(message.id)) this.#withdraw(message);
    }
    return added.concat(this.#drain());
  }

  /** Takes the page before `low`, and returns the messages to show before all others. */
  prependPage(page, isWhole) {
    const low = this.low ?? Infinity;
    const older = page.filter((message) => message.seq < low)
      .map((message) => this.#showable(message));
    for (const message of older) this.#ids.add(message.id);
    this.messages = older.concat(this.messages);
    this.isWhole = isWhole || older.length === 0;
    return older;
  }

  /** Lets go of the oldest messages beyond `count`, and returns them. */
  trim(count) {
    if (this.messages.length <= count) return [];
    const dropped = this.messages.splice(0, this.messages.length - count);
    for (const message of dropped) this.#ids.delete(message.id);
    this.isWhole = false;
    return dropped;
  }

  /** Messages that events have deleted since this was asked last, as they are to be shown. */
  takeEmptied() {
    const emptied = this.#emptied;
    this.#emptied = [];
    return emptied;
  }

  /** Returns the message as it may be shown, when it is new here. */
  #push(message) {
    const shown = this.#showable(message);
    this.#early.delete(message.seq);
    this.#unsequenced.delete(message.id);
    this.upTo = message.seq;
    if (this.#ids.has(message.id)) return [];
    this.#ids.add(message.id);
    this.messages.push(shown);
    if (message.event?.kind === "delete") this.#delete(message.event.id, message.seq);
    return [shown];
  }

  /** The message has no `seq` any more. */
  #withdraw(message) {
    // Without its text and its receipt nobody can give it back.
    if (message.deleted) return;
    this.#unsequenced.set(message.id, { ...message, seq: undefined, lostSeq: message.seq });
  }

  /** The text of a deleted message must not stay anywhere in the page. */
  #delete(id, seq) {
    this.#deletions.set(id, seq);
    if (this.#deletions.size > DELETIONS_AT_MOST) {
      this.#deletions.delete(this.#deletions.keys().next().value);
    }
    this.#unsequenced.delete(id);
    for (const [place, message] of this.#early) {
      if (message.id === id) this.#early.set(place, this.#showable(message));
    }
    if (!this.#ids.has(id)) return;
    const index = this.messages.findLastIndex((message) => message.id === id);
    if (index < 0) return;
    this.messages[index] = this.#showable(this.messages[index]);
    this.#emptied.push(this.messages[index]);
  }

  /** A message as it may be shown: a deletion may have come before it. */
  #showable(message) {
    const deletedBy = this.#deletions.get(message.id);
    if (deletedBy === undefined) return message;
    const { receipt, ...rest } = message;
    return { ...rest, text: "", deleted: true, deletedBy };
  }

  #drain() {
    const added = [];
    for (const seq of this.#early.keys()) if (seq <= this.upTo) this.#early.delete(seq);
    let next;
    while ((next = this.#early.get(this.upTo + 1))) added.push(...this.#push(next));
    return added;
  }
}

function compare(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}
