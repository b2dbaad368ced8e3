// The messages of a room in their order.

/** Messages beyond a hole that are kept; what is not kept comes with the page that fills it. */
const EARLY_AT_MOST = 2_000;

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
    if (this.isLoaded && message.seq <= this.upTo) return [];
    if (this.#early.size < EARLY_AT_MOST) this.#early.set(message.seq, message);
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
   * @param settledUpTo what is early up to here has no other messages before it.
   * @returns messages to append, oldest first.
   */
  appendPage(page, settledUpTo) {
    const added = [];
    for (const message of page) {
      if (message.seq <= this.upTo) continue;
      this.#push(message);
      added.push(message);
    }
    const early = [...this.#early.keys()].sort((one, other) => one - other);
    for (const seq of early) {
      if (seq > settledUpTo || seq <= this.upTo) continue;
      const message = this.#early.get(seq);
      this.#push(message);
      added.push(message);
    }
    return added.concat(this.#drain());
  }

  /** Takes the page before `low`, and returns the messages to show before all others. */
  prependPage(page, isWhole) {
    const low = this.low ?? Infinity;
    const older = page.filter((message) => message.seq < low);
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

  #push(message) {
    this.#early.delete(message.seq);
    this.#unsequenced.delete(message.id);
    this.#ids.add(message.id);
    this.messages.push(message);
    this.upTo = message.seq;
  }

  #drain() {
    const added = [];
    for (const seq of this.#early.keys()) if (seq <= this.upTo) this.#early.delete(seq);
    let next;
    while ((next = this.#early.get(this.upTo + 1))) {
      this.#push(next);
      added.push(next);
    }
    return added;
  }
}

function compare(one, other) {
  return one < other ? -1 : one > other ? 1 : 0;
}
