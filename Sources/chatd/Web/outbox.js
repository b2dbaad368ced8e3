// What was written and is not stored yet.

/** So many wait at most: more than anybody writes while a server is away. */
const ENTRIES_AT_MOST = 1_000;

/**
 * Messages of one person in one room until a shard has stored them. Each is an entry of its own in
 * the storage, so that two tabs do not overwrite each other and a closed tab loses nothing.
 *
 * An entry is `{id, sentAt, text, order, state, reason}`; `state` is `sending` or `failed`.
 */
export class Outbox {
  #prefix;
  #storage;
  #entries = new Map();

  /** @param storage `localStorage` or the like; null keeps everything in memory. */
  constructor(room, user, storage) {
    this.#prefix = `chat.outbox/${encodeURIComponent(room)}/${encodeURIComponent(user)}/`;
    this.#storage = storage;
    this.#load();
  }

  /** In the order of writing. */
  get entries() {
    return [...this.#entries.values()].sort(
      (one, other) => one.order - other.order || (one.id < other.id ? -1 : 1));
  }

  get isFull() {
    return this.#entries.size >= ENTRIES_AT_MOST;
  }

  get(id) {
    return this.#entries.get(id);
  }

  /** The entry to send next; undefined when nothing waits. */
  next() {
    return this.entries.find((entry) => entry.state === "sending" && !entry.isQueued);
  }

  add(id, sentAt, text) {
    const last = this.entries.at(-1)?.order ?? 0;
    const entry = { id, sentAt, text, order: Math.max(Date.now(), last + 1), state: "sending" };
    this.#entries.set(id, entry);
    this.#save(entry);
    return entry;
  }

  fail(id, reason) {
    const entry = this.#entries.get(id);
    if (!entry) return undefined;
    entry.state = "failed";
    entry.reason = reason;
    this.#save(entry);
    return entry;
  }

  /** A server has the message safe on its disk; no need to send it again before a reconnect. */
  queue(id) {
    const entry = this.#entries.get(id);
    if (entry) entry.isQueued = true;
  }

  /** After a reconnect everything that is not stored is sent again. */
  restart() {
    for (const entry of this.#entries.values()) entry.isQueued = false;
  }

  remove(id) {
    const entry = this.#entries.get(id);
    this.#entries.delete(id);
    try {
      this.#storage?.removeItem(this.#prefix + id);
    } catch {
      // Storage that cannot be written now: the entry is sent once more later, with the same id.
    }
    return entry;
  }

  #save(entry) {
    const { isQueued, ...lasting } = entry;
    try {
      this.#storage?.setItem(this.#prefix + entry.id, JSON.stringify(lasting));
    } catch {
      // Full or forbidden storage: memory keeps the entry as long as the page is open.
    }
  }

  #load() {
    const length = this.#storage?.length ?? 0;
    for (let index = 0; index < length; index += 1) {
      const key = this.#storage.key(index);
      if (!key?.startsWith(this.#prefix)) continue;
      try {
        const entry = JSON.parse(this.#storage.getItem(key));
        if (entry.id && typeof entry.text === "string") this.#entries.set(entry.id, entry);
      } catch {
        // Not ours, whatever it is: left alone.
      }
    }
  }
}
