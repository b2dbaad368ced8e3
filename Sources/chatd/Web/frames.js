// What a server says, as far as it is the protocol.

const isText = (value) => typeof value === "string";
const isCount = (value) => Number.isSafeInteger(value);
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const isList = (value, isOne) => Array.isArray(value) && value.every(isOne);
const maybe = (value, isRight) => value === undefined || value === null || isRight(value);

const isBounds = (value) => isObject(value) && isCount(value.min) && isCount(value.max);
const isMessage = ({ id, from, text, seq, event }) => isText(id) && isText(from)
  && maybe(text, isText) && maybe(seq, isCount) && maybe(event, isObject);
const isPage = ({ messages }) => isList(messages, isObject);

/** By type, whether the fields that are used are what they should be. */
const SHAPES = {
  hello: ({ user, head, heartbeat, reconnect, limits }) => maybe(user, isText)
    && maybe(head, isCount) && maybe(heartbeat, isBounds) && maybe(reconnect, isBounds)
    && maybe(limits, isObject),
  message: isMessage,
  stored: ({ id, seq }) => isText(id) && isCount(seq),
  ack: ({ id, level, seq }) => isText(id) && isText(level) && maybe(seq, isCount),
  sync: isPage,
  history: isPage,
  want: ({ ids, above }) => isList(ids, isText) && maybe(above, isCount),
  presence: ({ count, joined, left }) =>
    isCount(count) && isList(joined, isText) && isList(left, isText),
  typing: ({ from }) => isText(from),
  error: ({ code, id, retryAfter }) =>
    isText(code) && maybe(id, isText) && maybe(retryAfter, isCount),
  bye: ({ code, reconnectAfter, retryAfter }) =>
    maybe(code, isCount) && maybe(reconnectAfter, isCount) && maybe(retryAfter, isCount),
};

/**
 * Reads a frame; null when it is not the protocol, and nothing is lost: heartbeats repair whatever
 * it may have been. Frames of types that are not known here are read as they are.
 */
export function readFrame(data) {
  let frame;
  try {
    frame = JSON.parse(data);
  } catch {
    return null;
  }
  if (!isObject(frame) || !isText(frame.type)) return null;
  if (Object.hasOwn(SHAPES, frame.type) && !SHAPES[frame.type](frame)) return null;
  // One message that cannot be read must not hide those beside it.
  if (SHAPES[frame.type] === isPage) frame.messages = frame.messages.filter(isMessage);
  return frame;
}
