// What the node tells by itself: server-sent events, read with fetch, since an EventSource can send no login.
import { useEffect, useState } from "preact/hooks";
import { ApiError, parse, request } from "./api";

export interface Service {
  name: string;
  running: boolean;
  details: string;
  since: number | null;
  last_error: string | null;
  counters: Record<string, number>;
  start: string | null;
  show: string;
}

export interface TableCounts {
  dbms: string;
  table: string;
  stored: number;
  rejected: number;
  buffered: number;
  last: number | null;
}

export interface State {
  time: number;
  node: { name: string; version: string; uptime_seconds: number };
  ready: boolean;
  reasons: string[];
  services: Service[];
  numbers: Record<string, number>;
  tables: TableCounts[];
  metadata: { version: string; policies: number };
}

export interface LogEntry {
  log: string;
  time: string;
  kind: string;
  text: string;
  count: number;
}

export type Link = "connecting" | "live" | "lost" | "refused";

const POINTS = 600;
const LOG_LINES = 200;
const SILENCE_MS = 40_000;
const LONGEST_PAUSE_MS = 15_000;

type Handler = (name: string, data: unknown) => void;

/** Cuts a stream of server-sent events; `take` gets text in any pieces. */
export class EventReader {
  private text = "";
  lastId = "";

  constructor(private readonly handle: Handler) {}

  take(piece: string): void {
    this.text += piece;
    for (let end = this.text.indexOf("\n\n"); end >= 0; end = this.text.indexOf("\n\n")) {
      const block = this.text.slice(0, end);
      this.text = this.text.slice(end + 2);
      this.one(block);
    }
  }

  private one(block: string): void {
    let name = "message";
    const data: string[] = [];
    for (const line of block.split("\n")) {
      const at = line.indexOf(":");
      const [key, value] = at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1).replace(/^ /, "")];
      if (key === "event") name = value;
      else if (key === "data") data.push(value);
      else if (key === "id") this.lastId = value;
    }
    if (data.length) this.handle(name, parse(data.join("\n")));
  }
}

class Live {
  state: State | null = null;
  before: State | null = null;
  link: Link = "connecting";
  reason = "";
  logs: LogEntry[] = [];
  fields: string[] = [];
  points: number[][] = [];
  private readonly watchers = new Set<() => void>();
  private reader = new EventReader((name, data) => this.event(name, data));
  private stop: AbortController | null = null;
  private pause = 500;

  /** Listen as long as the page is looked at. */
  begin(): void {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.stop?.abort();
      else void this.connect();
    });
    void this.connect();
  }

  /** Anew, with another login. */
  again(): void {
    this.stop?.abort();
    this.stop = null;
    void this.connect();
  }

  watch(told: () => void): () => void {
    this.watchers.add(told);
    return () => this.watchers.delete(told);
  }

  private tell(): void {
    for (const told of this.watchers) told();
  }

  private async connect(): Promise<void> {
    if (document.hidden || (this.stop && !this.stop.signal.aborted)) return;
    const stop = (this.stop = new AbortController());
    try {
      await this.listen(stop);
      this.link = "lost";
    } catch (problem) {
      if (stop.signal.aborted && stop.signal.reason !== "silence") return;
      const error = problem instanceof ApiError ? problem : new ApiError(0, "The node does not answer");
      this.link = error.status === 401 || error.status === 403 ? "refused" : "lost";
      this.reason = error.told;
    }
    stop.abort();
    this.tell();
    if (this.link === "refused") return;
    this.pause = Math.min(this.pause * 1.7, LONGEST_PAUSE_MS);
    setTimeout(() => void this.connect(), this.pause * (0.7 + 0.6 * Math.random()));
  }

  private async listen(stop: AbortController): Promise<void> {
    const headers: Record<string, string> = {};
    if (this.reader.lastId) headers["Last-Event-ID"] = this.reader.lastId;
    const response = await request("/v1/events", { signal: stop.signal, headers });
    const body = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    if (!body) return;
    this.reader = Object.assign(new EventReader((name, data) => this.event(name, data)), { lastId: this.reader.lastId });
    for (;;) {
      const silent = setTimeout(() => stop.abort("silence"), SILENCE_MS);
      const { done, value } = await body.read();
      clearTimeout(silent);
      if (done) return;
      this.reader.take(value);
    }
  }

  private event(name: string, data: unknown): void {
    this.pause = 500;
    this.link = "live";
    this.reason = "";
    if (name === "history") {
      const { fields, points } = data as { fields: string[]; points: number[][] };
      this.fields = fields;
      this.points = points;
    } else if (name === "log") {
      this.logs = [...(data as LogEntry[]).reverse(), ...this.logs].slice(0, LOG_LINES);
    } else if (name === "state") {
      const state = data as State;
      this.before = this.state;
      this.state = state;
      const last = this.points[this.points.length - 1]?.[0] ?? 0;
      if (state.time > last && this.fields.length) {
        const point = this.fields.map((field) => (field === "time" ? state.time : (state.numbers[field] ?? 0)));
        this.points = [...this.points, point].slice(-POINTS);
      }
    } else return;
    this.tell();
  }

  /** A level over time: [times, values]. */
  level(field: string): [number[], (number | null)[]] {
    const at = this.fields.indexOf(field);
    return [this.points.map((p) => p[0]!), this.points.map((p) => p[at] ?? null)];
  }

  /** What a total grows by in a second, over time; null across a gap or a restart. */
  rate(field: string): [number[], (number | null)[]] {
    const at = this.fields.indexOf(field);
    const times: number[] = [];
    const values: (number | null)[] = [];
    for (let i = 1; i < this.points.length; i += 1) {
      const [one, two] = [this.points[i - 1]!, this.points[i]!];
      const seconds = two[0]! - one[0]!;
      const grown = two[at]! - one[at]!;
      times.push(two[0]!);
      values.push(seconds > 5 || seconds <= 0 || grown < 0 ? null : grown / seconds);
    }
    return [times, values];
  }
}

export const live = new Live();

/** The live numbers; the component is drawn again whenever they change. */
export function useLive(): Live {
  const [, set] = useState(0);
  useEffect(() => live.watch(() => set((n) => n + 1)), []);
  return live;
}
