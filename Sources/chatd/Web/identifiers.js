// Ids of messages, and the names of rooms and people.

/** A new message id: UUID version 4, lower case. Works without a secure context, too. */
export function newMessageID() {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)]
    .join("-");
}

/**
 * What a compact heartbeat says about messages without a `seq`: the XOR over their ids of
 * (upper 64 bits XOR lower 64 bits), as 16 hexadecimal digits.
 */
export function digestOfIDs(ids) {
  let digest = 0n;
  for (const id of ids) {
    const hex = id.replaceAll("-", "");
    digest ^= BigInt("0x" + hex.slice(0, 16)) ^ BigInt("0x" + hex.slice(16));
  }
  return digest.toString(16).padStart(16, "0");
}

/** Why `name` cannot be a room, in words for people; null when it can. */
export function roomNameProblem(name) {
  if (name === "") return "A room needs a name.";
  if (!/^[A-Za-z0-9]/.test(name)) return "A room's name begins with a letter A–Z or a digit.";
  const other = name.match(/[^A-Za-z0-9._~:-]/u);
  if (other) {
    const shown = /\s/.test(other[0]) ? "a space" : `“${other[0]}”`;
    return `A room's name has only letters A–Z, digits and . _ ~ : - (not ${shown}).`;
  }
  if (name.length > 128) return "A room's name has at most 128 characters.";
  return null;
}

/** Why `name` cannot be a person's name, in words for people; null when it can. */
export function userNameProblem(name) {
  if (name.trim() === "") return "Please choose a name.";
  if ([...name].length > 64 || byteCount(name) > 256) return "A name has at most 64 characters.";
  if (/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u.test(name)) {
    return "A name must not contain control characters.";
  }
  if (!/[^\s\p{Cf}]/u.test(name)) return "A name needs something to see.";
  return null;
}

const encoder = new TextEncoder();

/** Bytes of `text` in UTF-8. */
export function byteCount(text) {
  return encoder.encode(text).length;
}

/** `text` as the protocol takes it: no half surrogate pairs, no U+0000. */
export function sendableText(text) {
  const wellFormed = text.replace(
    /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
  return wellFormed.replaceAll("\u0000", "").trimEnd();
}
