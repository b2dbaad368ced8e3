// Reads pages of history into the timeline, one at a time.

import { retryDelay } from "./delays.js";

/** Messages of the newest page, and of a page of older ones. */
const PAGE = 50;
/** Messages in a page that fills a hole. */
const FILL_PAGE = 500;
/** So far below a number that was given a second time its neighbours are read again. */
const SUSPECTED = 100;

/**
 * Keeps at most one request on its way: an answer does not name its question, so the order of the
 * two is what connects them. Wishes wait: `newest` first, then `after`, then `before`.
 */
export class Reader {
  #timeline;
  #link;
  #wishes = new Set();
  /** `{kind, settled}`: what was asked for. */
  #request = null;
  #requestTimer = null;
  #retryTimer = null;
  #retries = 0;
  /** See `suspect`. */
  #suspect = Infinity;
  /** See `rejoin`. */
  #joint = Infinity;

  /** @param link `{isLive, patience, write(frame), lost(), read(kind, messages)}` */
  constructor(timeline, link) {
    this.#timeline = timeline;
    this.#link = link;
  }

  /** Whether an older page was asked for and is not here. */
  get isLoadingOlder() {
    return this.#wishes.has("before") || this.#request?.kind === "before";
  }

  get isSuspicious() {
    return this.#suspect < Infinity;
  }

  /**
   * The number `seq` was given a second time. Those below it may have been, too: who was away has
   * heard of the newest only.
   */
  suspect(seq) {
    this.#suspect = Math.min(this.#suspect, seq);
    this.want("after");
  }

  /**
   * Joins what was here before `hello` to what comes after. Until a page did, a `sync` may have gone
   * past the place without looking at it.
   */
  rejoin() {
    this.#joint = Math.min(this.#joint, Math.max(0, this.#timeline.upTo - 1));
    this.want("after");
  }

  want(kind) {
    this.#wishes.add(kind);
    this.#ask();
  }

  /** The connection is gone. What is still wanted is decided after the next `hello`. */
  stop() {
    clearTimeout(this.#requestTimer);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = null;
    this.#retries = 0;
    this.#suspect = Math.min(this.#suspect, this.#request?.suspect ?? Infinity);
    this.#request = null;
    this.#wishes.clear();
  }

  /**
   * Takes a page.
   *
   * @returns whether somebody asked for it; if not, its messages are like any others.
   */
  answered({ messages, complete }) {
    const request = this.#request;
    if (!request) return false;
    clearTimeout(this.#requestTimer);
    this.#request = null;
    this.#retries = 0;
    this.#link.read(request.kind, this.#merge(request, messages, complete));
    this.#ask();
    return true;
  }

  /**
   * Takes an error that names no message.
   *
   * @returns whether it was about a page, or may have been.
   */
  refused({ retryAfter, temporary }) {
    if (!this.#request) return false;
    clearTimeout(this.#requestTimer);
    // The same question would get the same answer for ever.
    if (temporary !== false) this.#wishes.add(this.#request.kind);
    this.#suspect = Math.min(this.#suspect, this.#request.suspect ?? Infinity);
    this.#request = null;
    this.#retryTimer = setTimeout(() => {
      this.#retryTimer = null;
      this.#ask();
    }, retryAfter ?? retryDelay(this.#retries++));
    return true;
  }

  #merge({ kind, after, settled }, messages, complete) {
    switch (kind) {
      case "newest":
        this.#joint = Infinity;
        this.#timeline.reset(messages, complete);
        return this.#timeline.messages;
      case "before":
        return this.#timeline.prependPage(messages, complete);
      default:
        return this.#mergeNewer(after, messages, complete, settled);
    }
  }

  #mergeNewer(after, messages, complete, settled) {
    const { upTo } = this.#timeline;
    if (upTo < after) {
      // Numbers were lost meanwhile: the page does not join on to what is left.
      this.#wishes.add("after");
      return messages.flatMap((message) => this.#timeline.add(message));
    }
    if (after <= this.#joint) this.#joint = Infinity;
    const added = this.#timeline.appendPage(messages, complete ? settled : 0);
    // A page that brings nothing new would be asked for again and again.
    if (!complete && this.#timeline.upTo > upTo) this.#wishes.add("after");
    return added;
  }

  #ask() {
    if (!this.#link.isLive || this.#request || this.#retryTimer) return;
    const { low, upTo, isLoaded, newestEarly } = this.#timeline;
    if (this.#wishes.has("newest")) {
      this.#send({ kind: "newest" }, { limit: PAGE });
    } else if (this.#wishes.has("after") && isLoaded) {
      // With the last message that is here: another one in its place shows that it was lost.
      const overlap = low === null ? upTo : Math.max(0, upTo - 1);
      const below = low === null ? upTo : Math.max(low - 1, this.#suspect - SUSPECTED);
      const after = Math.min(overlap, below, this.#joint);
      const request = { kind: "after", after, settled: newestEarly, suspect: this.#suspect };
      this.#suspect = Infinity;
      this.#send(request, { after, limit: FILL_PAGE });
    } else if (this.#wishes.has("before") && low !== null) {
      this.#send({ kind: "before" }, { before: low, limit: PAGE });
    }
  }

  #send(request, fields) {
    this.#wishes.delete(request.kind);
    this.#request = request;
    this.#requestTimer = setTimeout(() => this.#link.lost(), this.#link.patience);
    this.#link.write({ type: "history", ...fields });
  }
}
