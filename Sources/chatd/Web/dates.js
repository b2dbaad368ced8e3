// Times as people read them: local, short, with the whole of it on request.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const whole = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const day = new Intl.DateTimeFormat("en", { weekday: "long", day: "numeric", month: "long" });
const dayOfYear = new Intl.DateTimeFormat("en", { dateStyle: "long" });

export function clockTime(date) {
  return clock.format(date);
}

export function wholeTime(date) {
  return whole.format(date);
}

/** `Today`, `Yesterday`, `Monday, 23 November`, or with the year when it is not this one. */
export function dayName(date, now = new Date()) {
  if (isSameDay(date, now)) return "Today";
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  if (isSameDay(date, yesterday)) return "Yesterday";
  return date.getFullYear() === now.getFullYear() ? day.format(date) : dayOfYear.format(date);
}

export function isSameDay(one, other) {
  return one.toDateString() === other.toDateString();
}
