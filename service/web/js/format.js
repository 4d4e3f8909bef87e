// Numbers as text for people.

const UNITS = ["B", "kB", "MB", "GB", "TB"];
const count = new Intl.NumberFormat("en");

/** Seconds as a position in a video: 75.4 is "1:15", 3675 is "1:01:15". */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const tail = `${String(rest).padStart(2, "0")}`;
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** An interval of a video: "0:08 to 0:12". */
export function stretch(start, end) {
  return `${clock(start)} to ${clock(end)}`;
}

/** Seconds as a duration: "8 s", "12 min", "3.4 h". */
export function length(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

/** Seconds as a latency: "4.2 ms", "1.3 s"; a dash if there is none. */
export function latency(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  if (seconds >= 1) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const ms = seconds * 1000;
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

/** Bytes: "3.4 MB". */
export function size(bytes) {
  const power = Math.min(UNITS.length - 1, bytes < 1000 ? 0 : Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value.toFixed(power === 0 || value >= 100 ? 0 : 1)} ${UNITS[power]}`;
}

/** A share of one: "34 %", "< 1 %", without a line break before the sign. */
export function percent(share) {
  if (share > 0 && share < 0.01) return "<\u00a01\u00a0%";
  return `${Math.round(share * 100)}\u00a0%`;
}

/** A whole number with its noun: "1 video", "2,000 videos". */
export function counted(number, noun) {
  return `${count.format(number)} ${noun}${number === 1 ? "" : "s"}`;
}

/** The name of a grid size: "2 × 2". */
export function grid(size) {
  return `${size} × ${size}`;
}
