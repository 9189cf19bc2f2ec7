// What the editor of statements knows: words of the dialect, tables and columns, the time range, how text is coloured.

export interface Offer {
  word: string;
  about: string;
}

export interface Column {
  name: string;
  type: string;
}

/** database -> table -> columns */
export type Catalogue = Map<string, Map<string, Column[]>>;

const WORDS =
  "select from where and or not in is null like between group by order asc desc limit having as distinct case when then else end join left on using with true false".split(
    " ",
  );

const FUNCTIONS: Record<string, string> = {
  count: "count(*)",
  sum: "sum(column)",
  avg: "avg(column)",
  min: "min(column)",
  max: "max(column)",
  range: "range(column): max - min",
  increments: "increments(minute, 5, timestamp)",
  period: "period(minute, 5, now(), timestamp)",
  now: "now() - 1 hour",
  date: "date('now')",
  timestamp: "timestamp('now', '-1 day')",
  round: "round(value, digits)",
  abs: "abs(value)",
  coalesce: "coalesce(a, b)",
  lower: "lower(text)",
  upper: "upper(text)",
  length: "length(text)",
  substr: "substr(text, from, length)",
};

/** Columns that the node fills. */
export const AUTOMATIC = new Set(["row_id", "insert_timestamp", "tsd_name", "tsd_id"]);

/** How the word at the end of a text may go on. */
export function offersAt(before: string, statement: string, dbms: string, known: Catalogue): Offer[] {
  const word = /[\w.$]*$/.exec(before)?.[0] ?? "";
  const dot = word.lastIndexOf(".");
  const typed = word.slice(dot + 1).toLowerCase();
  const starts = (one: Offer): boolean => one.word.toLowerCase().startsWith(typed);
  if (dot > 0) return ofDot(word.slice(0, dot), known).filter(starts);
  const tables = known.get(dbms) ?? new Map<string, Column[]>();
  const found: Offer[] = [];
  for (const name of tablesIn(statement)) {
    for (const column of tables.get(name) ?? []) found.push({ word: column.name, about: `${column.type} · ${name}` });
  }
  for (const name of tables.keys()) found.push({ word: name, about: "table" });
  for (const name of known.keys()) found.push({ word: name, about: "database" });
  for (const [name, about] of Object.entries(FUNCTIONS)) found.push({ word: name, about });
  found.push({ word: "$range", about: "the chosen time range" });
  for (const name of WORDS) found.push({ word: name, about: "" });
  const each = new Map(found.filter(starts).map((one) => [one.word, one] as const));
  return [...each.values()];
}

function ofDot(left: string, known: Catalogue): Offer[] {
  const [dbms = "", table] = left.split(".");
  const tables = known.get(dbms);
  if (table !== undefined) return columns(tables?.get(table));
  if (tables) return [...tables.keys()].map((word) => ({ word, about: "table" }));
  for (const each of known.values()) if (each.has(left)) return columns(each.get(left));
  return [];
}

const columns = (found: Column[] | undefined): Offer[] => (found ?? []).map((c) => ({ word: c.name, about: c.type }));

/** Tables that a statement names behind from and join. */
export function tablesIn(statement: string): string[] {
  const found = statement.matchAll(/\b(?:from|join)\s+(?:(\w+)\.)?(\w+)/gi);
  return [...new Set([...found].map((m) => m[2]!.toLowerCase()))];
}

/** The column of a table that its readings are timed by. */
export function timeColumn(found: Column[] | undefined): string {
  const times = (found ?? []).filter((c) => c.type.startsWith("timestamp") && !AUTOMATIC.has(c.name));
  return times.find((c) => c.name === "timestamp")?.name ?? times[0]?.name ?? "timestamp";
}

export const PRESETS: [string, string, number][] = [
  ["", "All time", 0],
  ["5m", "Last 5 minutes", 300],
  ["15m", "Last 15 minutes", 900],
  ["1h", "Last hour", 3600],
  ["6h", "Last 6 hours", 21_600],
  ["24h", "Last 24 hours", 86_400],
  ["7d", "Last 7 days", 604_800],
  ["30d", "Last 30 days", 2_592_000],
];

export interface Range {
  preset: string;
  from: string;
  to: string;
}

/** The condition of a range; true for all time. */
export function condition(range: Range, column: string, now = Date.now()): string {
  const seconds = PRESETS.find(([key]) => key === range.preset)?.[2] ?? 0;
  if (range.preset === "custom") {
    const parts = [];
    const [from, to] = [Date.parse(range.from), Date.parse(range.to)];
    if (!Number.isNaN(from)) parts.push(`${column} >= '${new Date(from).toISOString()}'`);
    if (!Number.isNaN(to)) parts.push(`${column} < '${new Date(to).toISOString()}'`);
    return parts.join(" and ");
  }
  return seconds ? `${column} >= '${new Date(now - seconds * 1000).toISOString()}'` : "";
}

/** A statement with its range in place of `$range`. Without one the clause goes. */
export function ranged(statement: string, wanted: string): string {
  if (wanted) return statement.replace(/\$range\b/g, `(${wanted})`);
  return statement
    .replace(/\bwhere\s+\$range\s+and\b/gi, "where")
    .replace(/\s*\b(where|and)\s+\$range\b/gi, "")
    .replace(/\$range\b/g, "1 = 1");
}

/** A statement that names `$range`, where it did not yet. */
export function withRange(statement: string): string {
  if (statement.includes("$range")) return statement;
  const found = /\bwhere\b/i.exec(statement);
  if (found) {
    const at = found.index + found[0].length;
    return `${statement.slice(0, at)} $range and${statement.slice(at)}`;
  }
  const tail = /\s*\b(group\s+by|order\s+by|having|limit)\b/i.exec(statement);
  const at = tail ? tail.index : statement.trimEnd().length;
  return `${statement.slice(0, at)} where $range${statement.slice(at)}`;
}

const TOKEN = /('(?:[^']|'')*'?)|("[^"]*"?)|(--[^\n]*)|(\$range\b)|(\b\d+(?:\.\d+)?\b)|(\b[a-zA-Z_]\w*\b)/g;

/** A statement in coloured pieces: [class, text]. */
export function coloured(statement: string): [string, string][] {
  const pieces: [string, string][] = [];
  let at = 0;
  for (const found of statement.matchAll(TOKEN)) {
    if (found.index > at) pieces.push(["", statement.slice(at, found.index)]);
    pieces.push([kind(found, statement), found[0]]);
    at = found.index + found[0].length;
  }
  pieces.push(["", statement.slice(at)]);
  return pieces;
}

function kind(found: RegExpMatchArray, statement: string): string {
  if (found[1] !== undefined) return "t-text";
  if (found[2] !== undefined) return "t-name";
  if (found[3] !== undefined) return "t-note";
  if (found[4] !== undefined) return "t-range";
  if (found[5] !== undefined) return "t-number";
  const word = found[0].toLowerCase();
  if (WORDS.includes(word)) return "t-word";
  const next = statement.slice(found.index! + found[0].length).trimStart()[0];
  return next === "(" && word in FUNCTIONS ? "t-call" : "";
}
