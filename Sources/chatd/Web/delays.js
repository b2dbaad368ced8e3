// How long to wait before trying again.

/** After a temporary error that names no time: half a second, doubled up to five, with jitter. */
export function retryDelay(failures, random = Math.random) {
  const longest = Math.min(5_000, 500 * 2 ** Math.min(failures, 10));
  return longest * (0.5 + random() / 2);
}

/** Before coming back: within the server's bounds, longer with each failure, never all at once. */
export function reconnectDelay({ min, max }, failures, random = Math.random) {
  const longest = Math.min(max, min * 4 * 2 ** Math.min(failures, 10));
  return min + random() * Math.max(0, longest - min);
}

/** Bounds that a server told, pulled into what is sane; a maximum below the minimum counts as it. */
export function clampBounds({ min, max }, least, most) {
  const lower = Math.min(Math.max(min, least), most);
  return { min: lower, max: Math.min(Math.max(max, lower), most) };
}

/** To the next heartbeat: drawn anew each time. */
export function beatDelay({ min, max }, random = Math.random) {
  return min + random() * (max - min);
}
