// The chat protocol from a client's side, for one room. No DOM: any page can use it.

import { beatDelay, clampBounds, reconnectDelay } from "./delays.js";
import { readFrame } from "./frames.js";
import { newMessageID } from "./identifiers.js";
import { Outbox } from "./outbox.js";
import { Reader } from "./reader.js";
import { Sender } from "./sender.js";
import { Timeline } from "./timeline.js";

/** Close codes after which coming back would only repeat the failure. */
const FINAL_CODES = new Set([1000, 1002, 1003, 1007, 1009, 4401, 4403]);
/** Further behind than this the newest page is read instead of everything in between. */
const CATCH_UP_MESSAGES = 1_000;
// Milliseconds:
/** How long a hole may last before it is read: messages of two servers overtake each other. */
const GAP_GRACE = 150;
/** How long connecting may take, up to `hello`. */
const CONNECT_PATIENCE = 10_000;
/** How long after `bye` the connection may stay open. */
const BYE_PATIENCE = 2_000;
/** How long an answer may take; the server gives up earlier, so silence is a dead connection. */
const PATIENCE = 12_000;
/** What a server may ask for between two heartbeats, and before coming back. */
const SANE = { heartbeat: [50, 20_000], reconnect: [10, 60_000] };
/** The longest time to stay away that a server may ask one client for. */
const LONGEST_ABSENCE = 600_000;
/** How long to stay away after 4429 when the server does not say. */
const PENANCE = 10_000;
/** The shortest time between two `typing` frames. */
const TYPING_INTERVAL = 2_500;
/** A heartbeat that is so late has slept with the machine. */
const SLEPT = 10_000;

/**
 * One person in one room.
 *
 * Events, with `detail`:
 * - `state`: the connection has changed, see `state`
 * - `reset`, `append`, `prepend`, `trim` `{messages}`: the timeline has changed
 * - `pending` `{entry}`: a message of one's own that is not in the timeline appeared or changed
 * - `settled` `{id}`: such a message is in the timeline (or below it), or was discarded
 * - `emptied` `{messages}`: messages of the timeline were deleted, their text is gone
 * - `refused` `{message}`: what a moderator wanted was not done
 * - `waiting`: messages that have no `seq` yet have changed, see `timeline.unsequenced`
 * - `history`: a page was asked for or has come
 * - `people` `{joined, left}`, `typing` `{from}`
 */
export class ChatClient extends EventTarget {
  room;
  /** As it was given; from `hello` on, as the server writes it: that is in all frames. */
  user;
  timeline = new Timeline();
  outbox;
  /** `{name, code, reason, retryAt}`; the name is `connecting`, `live`, `offline` or `closed`. */
  state = { name: "closed" };
  /** What the server has said last about itself and its limits. */
  hello = {
    heartbeat: { min: 3_500, max: 7_000 },
    limits: { textBytes: 16_384, frameBytes: 65_536, messagesPerSecond: 20 },
    reconnect: { min: 200, max: 5_000 },
  };
  /** Who is here; fewer than `peopleCount` when the server tells only the count. */
  people = new Set();
  peopleCount = 0;

  #bases;
  #attempts = 0;
  #token;
  #timers;
  #reader;
  #sender;
  #socket = null;
  #wasOpened = false;
  #bye = null;
  #failures = 0;
  #connectTimer = null;
  #reconnectTimer = null;
  #gapTimer = null;
  #beatTimer = null;
  #beatDue = 0;
  #lastTyping = -Infinity;
  /** Ids of acts of a moderator that have no answer yet. */
  #acts = new Set();

  /**
   * @param token proves who `user` is, where the server asks for that; kept in memory only.
   * @param base where the server is, such as `https://chat.example`, or a list of such addresses,
   *   which are tried in turn; the page's own by default.
   * @param storage keeps the outbox, such as `localStorage`; null keeps it in memory.
   * @param timers `{set(handler, delay), clear(handle)}` for heartbeats; a page whose timers are
   *   held back while it is hidden passes others.
   * @param patience how long an answer may take, in milliseconds.
   */
  constructor({
    room, user, token = null, base = globalThis.location.origin, storage = null,
    timers = ownTimers, patience = PATIENCE,
  }) {
    super();
    this.room = room;
    this.user = user;
    this.#token = token;
    this.#bases = [base].flat().map((one) => new URL(one.replace(/^ws/, "http")));
    this.#timers = timers;
    this.outbox = new Outbox(room, user, storage);
    const isLive = () => this.state.name === "live";
    const limits = () => this.hello.limits;
    const link = {
      get isLive() { return isLive(); },
      get limits() { return limits(); },
      patience,
      write: (frame) => this.#write(frame),
      lost: () => this.#abandon("no answer"),
      read: (kind, messages) => this.#pageRead(kind, messages),
      changed: (entry) => this.#emit("pending", { entry }),
      settled: (id) => this.#emit("settled", { id }),
    };
    this.#reader = new Reader(this.timeline, link);
    this.#sender = new Sender(this.outbox, link);
  }

  // What a page calls

  /** Connects, and stays connected until `close()` or a close code that forbids to come back. */
  connect() {
    if (this.#socket) return;
    clearTimeout(this.#reconnectTimer);
    this.#open();
  }

  /** Leaves the room. The outbox stays. */
  close() {
    clearTimeout(this.#reconnectTimer);
    this.#drop(1000);
    this.#setState({ name: "closed", code: 1000, reason: "left" });
  }

  /** Takes a fresh token of the same user, for this connection and for those that follow. */
  renew(token) {
    this.#token = token;
    if (this.state.name === "live") this.#write({ type: "token", token });
    else if (this.state.name !== "connecting") this.connect();
  }

  /** Puts a message into the outbox and returns its entry; null when there is nothing to send. */
  send(text) {
    return this.#sender.add(text);
  }

  /** Gives up a message that was refused, and returns its entry. */
  discard(id) {
    const entry = this.outbox.remove(id);
    if (entry) this.#emit("settled", { id });
    return entry;
  }

  /** Whether the user may delete messages, and keep others quiet or out. */
  get mayModerate() {
    return this.hello.rights?.includes("moderate") ?? false;
  }

  /**
   * Does what a moderator may: `{delete: id}`, `{mute: name, for: seconds}`, `{kick: name}` and so
   * on. Not kept for later: what is seen when the connection is back may look different.
   */
  moderate(act) {
    if (this.state.name !== "live") return;
    const id = newMessageID();
    this.#acts.add(id);
    this.#write({ type: "moderate", id, sentAt: new Date().toISOString(), ...act });
  }

  /** Tells the others that the user is writing. May be called at every key. */
  typing() {
    const now = performance.now();
    if (this.state.name !== "live" || now - this.#lastTyping < TYPING_INTERVAL) return;
    this.#lastTyping = now;
    this.#write({ type: "typing" });
  }

  get isLoadingOlder() {
    return this.#reader.isLoadingOlder;
  }

  /** Loads the page before the oldest message here. */
  loadOlder() {
    const { isLoaded, isWhole } = this.timeline;
    if (!isLoaded || isWhole || this.isLoadingOlder || this.state.name !== "live") return;
    this.#reader.want("before");
    this.#emit("history");
  }

  /** Keeps the newest `count` messages; older ones can be loaded again. */
  trim(count) {
    if (this.isLoadingOlder) return;
    const messages = this.timeline.trim(count);
    if (messages.length > 0) this.#emit("trim", { messages });
  }

  /** The network or the machine is back: finds out whether the connection still lives. */
  wake() {
    if (this.state.name === "offline") this.connect();
    else if (this.state.name === "live") this.#reader.want("after");
  }

  /** What the next heartbeat says, once there is something to say. */
  heartbeat() {
    return this.timeline.heartbeat();
  }

  // Connection

  #open() {
    this.#attempts += 1;
    const url = this.#url("socket");
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#bye = null;
    this.#wasOpened = false;
    this.#setState({ name: "connecting" });
    // Pages cannot set headers, so a token goes beside the subprotocol.
    const bearer = this.#token === null ? [] : [`bearer.${this.#token}`];
    const socket = new WebSocket(url, ["chat.v1", ...bearer]);
    socket.onopen = () => { this.#wasOpened = true; };
    socket.onmessage = (event) => this.#received(event.data);
    socket.onclose = (event) => this.#closed(event.code, event.reason);
    this.#socket = socket;
    this.#connectTimer = setTimeout(() => this.#abandon("no answer"), CONNECT_PATIENCE);
  }

  #url(endpoint) {
    const base = this.#bases[(this.#attempts - 1) % this.#bases.length];
    const url = new URL(`/v1/rooms/${encodeURIComponent(this.room)}/${endpoint}`, base);
    if (this.#token === null) url.searchParams.set("user", this.user);
    return url;
  }

  /** Lets go of the socket, whatever it may still say. */
  #drop(code) {
    clearTimeout(this.#connectTimer);
    clearTimeout(this.#gapTimer);
    this.#gapTimer = null;
    this.#timers.clear(this.#beatTimer);
    this.#sender.stop();
    this.#reader.stop();
    this.#acts.clear();
    this.#emit("history");
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    if (code !== undefined) socket.close(code);
  }

  /** The connection is dead, though nobody said so. */
  #abandon(reason) {
    this.#drop(4000);
    this.#comeBack(undefined, reason);
  }

  #closed(closeCode, reason) {
    const wasOpened = this.#wasOpened;
    const code = this.#bye?.code ?? closeCode;
    this.#drop(1000);
    if (FINAL_CODES.has(code)) {
      this.#setState({ name: "closed", code, reason: this.#bye?.reason ?? reason });
    } else if (wasOpened) {
      this.#comeBack(code, reason);
    } else {
      this.#comeBack(code, reason);
      this.#diagnose();
    }
  }

  #comeBack(code, reason) {
    const told = this.#told(code);
    const delay = told === undefined ? reconnectDelay(this.hello.reconnect, this.#failures)
      : Math.min(Math.max(told, 0), LONGEST_ABSENCE);
    this.#failures += 1;
    this.#reconnectTimer = setTimeout(() => this.#open(), delay);
    this.#setState({ name: "offline", code, reason, retryAt: Date.now() + delay });
  }

  /** How long to stay away by the server's word. */
  #told(code) {
    const times = [this.#bye?.reconnectAfter, this.#bye?.retryAfter].filter(Number.isFinite);
    if (times.length > 0) return Math.max(...times);
    return code === 4429 ? PENANCE : undefined;
  }

  /** Browsers do not tell why a socket was refused, so plain HTTP is asked. */
  async #diagnose() {
    const url = this.#url("messages");
    url.searchParams.set("limit", "1");
    let refusal;
    try {
      const headers = this.#token === null ? {} : { Authorization: `Bearer ${this.#token}` };
      const response = await fetch(url, { headers, signal: AbortSignal.timeout(3_000) });
      if (![400, 401, 403].includes(response.status)) return;
      const { code, message } = await response.json();
      const meaning = code === "badRoom" ? code : response.status === 403 ? 4403 : 4401;
      refusal = { name: "closed", code: meaning, reason: message };
    } catch {
      return;  // No answer, or not the chat's: the server is away, and coming back is right.
    }
    if (this.state.name !== "offline") return;
    clearTimeout(this.#reconnectTimer);
    this.#setState(refusal);
  }

  #setState(state) {
    this.state = state;
    this.#emit("state", state);
  }

  #emit(type, detail = {}) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // Frames

  #write(frame) {
    this.#socket?.send(typeof frame === "string" ? frame : JSON.stringify(frame));
  }

  #received(data) {
    const frame = readFrame(data);
    if (!frame) return;
    this.#compare(frame);
    switch (frame.type) {
      case "hello": return this.#welcomed(frame);
      case "message": return this.#take([frame]);
      case "stored": return this.#sequenced(frame);
      case "ack": return this.#acts.delete(frame.id) || this.#sender.acknowledged(frame, this.timeline.upTo);
      case "want": return this.#giveBack(frame);
      case "sync": return this.#synchronized(frame);
      case "history": return this.#reader.answered(frame) || this.#take(frame.messages);
      case "presence": return this.#counted(frame);
      case "typing": return this.#emit("typing", { from: frame.from });
      case "error": return this.#refused(frame);
      case "bye": return this.#dismissed(frame);
      default: return undefined;  // A later version may say more.
    }
  }

  /**
   * Whoever gives a number a second time, or a message a second number, has lost the message that
   * had the first.
   */
  #compare({ type, messages, ...frame }) {
    let told = [];
    if (type === "message") told = [frame];
    else if (type === "hello" && frame.headID) told = [{ seq: frame.head, id: frame.headID }];
    else if (type === "sync" || type === "history") told = messages;
    const lost = told.filter(({ seq }) => seq !== undefined && seq !== null)
      .flatMap(({ seq, id }) => {
        const isTaken = (this.timeline.at(seq)?.id ?? id) !== id;
        const old = this.timeline.seqOf(id) ?? seq;
        return [...(isTaken ? [seq] : []), ...(old !== seq ? [old] : [])];
      });
    if (lost.length === 0) return;
    const first = Math.min(...lost);
    this.timeline.lose(first);
    if (told.every(({ seq }) => (seq ?? first) >= first)) this.#reader.suspect(first);
    this.#emit("reset", { messages: this.timeline.messages });
    this.#emit("waiting");
  }

  /** The server has lost messages: it names them, or asks what is here above a `seq`. */
  #giveBack({ ids, above }) {
    if (above !== undefined) this.#write(this.timeline.report(above));
    for (const id of ids) {
      const message = this.timeline.get(id);
      if (message?.receipt !== undefined) this.#write(message);
    }
  }

  #welcomed(frame) {
    clearTimeout(this.#connectTimer);
    this.#failures = 0;
    const heartbeat = clampBounds(frame.heartbeat ?? this.hello.heartbeat, ...SANE.heartbeat);
    const reconnect = clampBounds(frame.reconnect ?? this.hello.reconnect, ...SANE.reconnect);
    const limits = { ...this.hello.limits, ...frame.limits };
    this.hello = { ...this.hello, ...frame, heartbeat, reconnect, limits };
    this.user = frame.user ?? this.user;
    this.#setState({ name: "live" });
    this.#beatAfter(Math.random() * beatDelay(this.hello.heartbeat));
    const behind = (frame.head ?? 0) - this.timeline.upTo;
    const isNear = behind <= CATCH_UP_MESSAGES;
    if (!this.timeline.isLoaded || !isNear) this.#reader.want("newest");
    else if (behind > 0 || !frame.warm || this.timeline.hasGap
      || this.#reader.isSuspicious) this.#reader.rejoin();
    this.#sender.start();
  }

  #refused(frame) {
    if (this.#acts.delete(frame.id)) {
      this.#emit("refused", { message: frame.message });
    } else if (frame.id !== undefined) {
      this.#sender.refused(frame);
    } else if (frame.code === "forbidden") {
      // Of `typing`, or of a token: nothing waits for an answer.
    } else if (frame.code === "rateLimited") {
      // It does not say which frame was too much: all that wait are sent again.
      this.#reader.refused(frame);
      this.#sender.refused(frame);
    } else if (!this.#reader.refused(frame)) {
      this.#sender.refused(frame);
    }
  }

  #dismissed(frame) {
    this.#bye = frame;
    this.#connectTimer = setTimeout(() => this.#closed(frame.code, frame.reason), BYE_PATIENCE);
  }

  #counted({ count, joined, left }) {
    const isCountOnly = count > 0 && joined.length === 0 && left.length === 0;
    if (isCountOnly || joined.length === count) this.people.clear();
    for (const name of joined) this.people.add(name);
    for (const name of left) this.people.delete(name);
    this.peopleCount = count;
    this.#emit("people", { joined, left });
  }

  // Heartbeats

  #beatAfter(delay) {
    this.#beatDue = performance.now() + delay;
    this.#beatTimer = this.#timers.set(() => this.#beat(), delay);
  }

  #beat() {
    if (this.state.name !== "live") return;
    this.#write(this.heartbeat());
    if (performance.now() - this.#beatDue > SLEPT) this.wake();
    this.#beatAfter(beatDelay(this.hello.heartbeat));
  }

  #synchronized({ messages, complete }) {
    this.#take(messages);
    if (complete === false) this.#reader.want("after");
  }

  // Messages

  #take(messages) {
    this.#append(messages.flatMap((message) => this.timeline.add(message)));
    for (const message of messages) this.#sender.saw(message, this.timeline.upTo);
    if (messages.some((message) => message.seq === undefined)) this.#emit("waiting");
    if (!this.timeline.hasGap || this.#gapTimer) return;
    this.#gapTimer = setTimeout(() => {
      this.#gapTimer = null;
      if (this.timeline.hasGap) this.#reader.want("after");
    }, GAP_GRACE);
  }

  #sequenced({ id, seq }) {
    this.#append(this.timeline.sequence(id, seq));
    this.#sender.saw({ id, seq }, this.timeline.upTo);
    this.#emit("waiting");
  }

  #append(messages) {
    if (messages.length > 0) this.#emit("append", { messages });
    const emptied = this.timeline.takeEmptied();
    if (emptied.length > 0) this.#emit("emptied", { messages: emptied });
  }

  #pageRead(kind, messages) {
    if (kind === "after") {
      this.#append(messages);
      this.#emit("waiting");
    } else this.#emit(kind === "newest" ? "reset" : "prepend", { messages });
    if (kind === "newest") this.timeline.takeEmptied(); // Shown as they are now.
    for (const message of messages) this.#sender.saw(message, this.timeline.upTo);
    this.#emit("history");
  }
}

const ownTimers = {
  set: (handler, delay) => setTimeout(handler, delay),
  clear: (handle) => clearTimeout(handle),
};
