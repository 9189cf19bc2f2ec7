// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n: number): string => whole.format(n);

export const compact = (n: number): string => (Math.abs(n) < 10_000 ? whole.format(n) : short.format(n));

export function rate(n: number | null | undefined): string {
  if (n === null || n === undefined) return "–";
  return n > 0 && n < 10 ? n.toFixed(1) : compact(n);
}

export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  while (n >= 1000 && at < units.length - 1) {
    n /= 1000;
    at += 1;
  }
  return `${at === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[at]}`;
}

export function span(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

export function ago(seconds: number | null | undefined, now = Date.now() / 1000): string {
  if (!seconds) return "never";
  const passed = now - seconds;
  return passed < 2 ? "now" : `${span(passed)} ago`;
}

const two = (n: number): string => String(n).padStart(2, "0");

/** A moment in the time zone of the browser. */
export function moment(seconds: number): string {
  const d = new Date(seconds * 1000);
  const day = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  return `${day} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

export const clock = (iso: string): string => {
  const d = new Date(iso);
  return Number.isNaN(+d) ? iso : `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
};

export const instant = (ms: number): string => new Date(ms).toISOString().replace(/\.000Z$/, "Z");

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${count(n)} ${n === 1 ? one : many}`;
}
