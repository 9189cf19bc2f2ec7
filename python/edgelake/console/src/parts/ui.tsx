// Small parts that every page uses.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get } from "../lib/api";
import { go } from "../lib/route";

export function Card(props: {
  title: ComponentChildren;
  aside?: ComponentChildren;
  children: ComponentChildren;
  class?: string;
}) {
  return (
    <section class={`card ${props.class ?? ""}`}>
      <header class="card-head">
        <h2>{props.title}</h2>
        {props.aside !== undefined && <div class="card-aside">{props.aside}</div>}
      </header>
      {props.children}
    </section>
  );
}

export function Head(props: { title: string; about: ComponentChildren; children?: ComponentChildren }) {
  return (
    <div class="page-head">
      <div>
        <h1>{props.title}</h1>
        <p class="muted">{props.about}</p>
      </div>
      {props.children && <div class="page-tools">{props.children}</div>}
    </div>
  );
}

export type Tone = "good" | "bad" | "warn" | "idle";

export function Dot({ tone, label }: { tone: Tone; label: string }) {
  return (
    <span class={`dot ${tone}`} role="img" aria-label={label} title={label}>
      <span aria-hidden="true" />
    </span>
  );
}

export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }) {
  return <span class={`badge ${tone}`}>{children}</span>;
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

/** What the node said of a failure: what is wrong, and what helps. All of it is text. */
export function Failure({ problem }: { problem: unknown }) {
  if (!problem) return null;
  const error = problem instanceof ApiError ? problem : new ApiError(0, String((problem as Error).message ?? problem));
  return (
    <div class="failure" role="alert">
      <strong>{error.message}</strong>
      {error.detail && <pre class="failure-detail">{error.detail}</pre>}
      {error.hint && (
        <p>
          What helps: <code>{error.hint}</code>
        </p>
      )}
    </div>
  );
}

/** A command: a click copies it, or takes it to the console. */
export function Command({ line }: { line: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    await copyText(line);
    setCopied(true);
    setTimeout(() => setCopied(false), 1500);
  };
  return (
    <span class="command">
      <code>{line}</code>
      <button type="button" class="tiny" onClick={copy} aria-label={`Copy: ${line}`}>
        {copied ? "Copied" : "Copy"}
      </button>
      <button type="button" class="tiny" onClick={() => go("console", { line })} aria-label={`To the console: ${line}`}>
        Open
      </button>
    </span>
  );
}

/** The clipboard, also where the page came by plain HTTP and the browser offers none. */
export async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "off-screen";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function save(name: string, type: string, content: string): void {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

export interface Loaded<T> {
  data: T | null;
  problem: unknown;
  busy: boolean;
  again: () => void;
}

/** What an address of the API answers; asked again every `everyMs`. */
export function useGet<T>(path: string | null, everyMs = 0): Loaded<T> {
  const [found, set] = useState<{ path: string | null; data: T | null; problem: unknown }>({
    path: null,
    data: null,
    problem: null,
  });
  const [turn, next] = useState(0);
  const busy = useRef(false);
  useEffect(() => {
    if (path === null) return;
    const stop = new AbortController();
    busy.current = true;
    get<T>(path, stop.signal)
      .then((data) => set({ path, data, problem: null }))
      .catch((problem: unknown) => {
        if (!stop.signal.aborted) set((before) => ({ path, data: before.path === path ? before.data : null, problem }));
      })
      .finally(() => (busy.current = false));
    const timer = everyMs ? setTimeout(() => !document.hidden && next((n) => n + 1), everyMs) : 0;
    return () => {
      stop.abort();
      clearTimeout(timer);
    };
  }, [path, turn, everyMs]);
  const current = found.path === path;
  return {
    data: current ? found.data : null,
    problem: current ? found.problem : null,
    busy: path !== null && !current,
    again: () => next((n) => n + 1),
  };
}
