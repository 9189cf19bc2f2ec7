// An answer of /v1/sql: read while it arrives, made into series of a chart, saved.
import type { Series } from "../parts/Chart";
import { columnsOf, text, type Row } from "../parts/Grid";
import { ApiError, parse, post, request } from "./api";

export const MOST_ROWS = 20_000;

export interface Answer {
  rows: Row[];
  cut: boolean;
  ms: number;
}

interface Asked {
  sql: string;
  dbms: string;
  network: boolean;
  timezone: string;
}

/** Runs a statement. `stop` ends it here and at the node. */
export async function ask(asked: Asked, stop: AbortController): Promise<Answer> {
  const began = performance.now();
  const id = crypto.getRandomValues(new Uint32Array(3)).join("-");
  const cancel = (): void => void post("/v1/cancel", { id }).catch(() => {});
  stop.signal.addEventListener("abort", cancel, { once: true });
  try {
    const body = { ...asked, format: "ndjson", id };
    const response = await request("/v1/sql", { body, signal: stop.signal });
    const found = await lines(response);
    return { ...found, ms: performance.now() - began };
  } finally {
    stop.signal.removeEventListener("abort", cancel);
  }
}

async function lines(response: Response): Promise<{ rows: Row[]; cut: boolean }> {
  const rows: Row[] = [];
  const body = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await body.read();
    const parts = (rest + (value ?? "")).split("\n");
    rest = done ? "" : parts.pop()!;
    for (const line of parts) {
      if (!line) continue;
      const row = parse(line) as Row;
      // A failure behind the first rows ends the answer with the node's error object.
      if ("err_code" in row && "err_text" in row) throw new ApiError(500, text(row["err_text"]), text(row["local_msg"]));
      rows.push(row);
      if (rows.length >= MOST_ROWS) {
        await body.cancel();
        return { rows, cut: true };
      }
    }
    if (done) return { rows, cut: false };
  }
}

const TIME = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/;

/** Seconds of a time as the node prints it. */
export function seconds(value: unknown): number | null {
  if (typeof value !== "string" || !TIME.test(value)) return null;
  const iso = value.replace(" ", "T");
  const ms = Date.parse(/(?:Z|[+-]\d\d:?\d\d)$/.test(iso) ? iso : `${iso}Z`);
  return Number.isNaN(ms) ? null : ms / 1000;
}

export interface Shape {
  times: string[];
  numbers: string[];
  texts: string[];
}

/** What the columns of an answer may stand for in a chart. */
export function shapeOf(rows: Row[]): Shape {
  const shape: Shape = { times: [], numbers: [], texts: [] };
  const some = rows.slice(0, 200);
  for (const name of columnsOf(rows)) {
    const values = some.map((row) => row[name]).filter((value) => value !== null && value !== undefined);
    if (!values.length) continue;
    if (values.every((value) => typeof value === "number")) shape.numbers.push(name);
    else if (values.every((value) => seconds(value) !== null)) shape.times.push(name);
    else shape.texts.push(name);
  }
  return shape;
}

export interface Plotted {
  x: number[];
  series: { name: string; values: Series }[];
  time: boolean;
}

const MOST_SERIES = 8;

/** Series over a column (or over the number of the row), one for each value of `split` where it is given. */
export function plotted(rows: Row[], over: string, values: string[], split: string): Plotted {
  const time = over !== "" && rows.some((row) => seconds(row[over]) !== null);
  const place = (row: Row, at: number): number | null => {
    const value = over === "" ? at + 1 : row[over];
    return time ? seconds(value) : typeof value === "number" ? value : null;
  };
  const byName = new Map<string, Map<number, number>>();
  const places = new Set<number>();
  rows.forEach((row, at) => {
    const x = place(row, at);
    if (x === null) return;
    for (const column of values) {
      const value = row[column];
      if (typeof value !== "number") continue;
      const name = split ? `${text(row[split])}${values.length > 1 ? ` ${column}` : ""}` : column;
      if (!byName.has(name)) {
        if (byName.size >= MOST_SERIES) continue;
        byName.set(name, new Map());
      }
      byName.get(name)!.set(x, value);
      places.add(x);
    }
  });
  const x = [...places].sort((a, b) => a - b);
  const spread = split !== "";
  const series = [...byName].map(([name, found]) => ({ name, values: x.map((one) => found.get(one) ?? (spread ? undefined : null)) }));
  return { x, series: series as Plotted["series"], time };
}

/** CSV as RFC 4180 has it; an empty text is "", nothing stands for null. */
export function csv(rows: Row[]): string {
  const columns = columnsOf(rows);
  const cell = (value: unknown): string => {
    if (value === null || value === undefined) return "";
    const shown = text(value);
    return shown === "" || /[",\r\n]/.test(shown) ? `"${shown.replace(/"/g, '""')}"` : shown;
  };
  const all = [columns, ...rows.map((row) => columns.map((name) => row[name]))];
  return all.map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}
