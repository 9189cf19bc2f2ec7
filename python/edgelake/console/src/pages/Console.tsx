// The command line of the node, with what the node itself offers at each word.
import { useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { ApiError, post } from "../lib/api";
import { keep, kept } from "../lib/kept";
import type { Route } from "../lib/route";
import { useLive } from "../lib/live";
import { Head } from "../parts/ui";

interface Word {
  word: string;
  about: string;
}

interface Offered {
  start: number;
  words: Word[];
}

/** What was offered, with the part of the line that it comes after. */
interface Offer {
  head: string;
  words: Word[];
}

interface Said {
  line: string;
  text: string;
  failed: boolean;
  hint: string;
  ms: number;
}

const SHOWN = 100;

export function Console({ route }: { route: Route }) {
  const { state } = useLive();
  const [line, setLine] = useState(route.values.get("line") ?? "");
  const [said, setSaid] = useState<Said[]>([]);
  const [offered, setOffered] = useState<Offer | null>(null);
  const [at, setAt] = useState(-1);
  const [busy, setBusy] = useState(false);
  const [past, setPast] = useState<{ list: string[]; at: number; typed: string }>({ list: kept("lines"), at: -1, typed: "" });
  const input = useRef<HTMLInputElement>(null);
  const out = useRef<HTMLDivElement>(null);
  const asking = useRef<AbortController | null>(null);
  const id = useId();

  // Before the page is painted: keys that follow at once belong to this line.
  useLayoutEffect(() => {
    input.current?.focus();
    setLine(route.values.get("line") ?? "");
  }, [route.values.get("line")]);
  useEffect(() => out.current?.scrollTo(0, out.current.scrollHeight), [said]);
  useEffect(() => document.getElementById(`${id}-${at}`)?.scrollIntoView({ block: "nearest" }), [at]);

  const run = async (): Promise<void> => {
    const wanted = line.trim();
    if (!wanted || busy) return;
    asking.current?.abort();
    setBusy(true);
    setOffered(null);
    setLine("");
    setPast({ list: keep("lines", wanted), at: -1, typed: "" });
    const began = performance.now();
    const done: Said = { line: wanted, text: "", failed: false, hint: "", ms: 0 };
    try {
      const { result } = await post<{ result: unknown }>("/v1/command", { command: wanted, format: "text" });
      done.text = typeof result === "string" ? result : JSON.stringify(result, null, 1);
    } catch (problem) {
      const error = problem instanceof ApiError ? problem : new ApiError(0, String(problem));
      Object.assign(done, { failed: true, text: error.told, hint: error.hint });
    }
    done.ms = performance.now() - began;
    setSaid((before) => [...before, done].slice(-SHOWN));
    setBusy(false);
    input.current?.focus();
  };

  const offer = async (text: string): Promise<void> => {
    asking.current?.abort();
    const stop = (asking.current = new AbortController());
    try {
      const found = await post<Offered>("/v1/complete", { line: text }, stop.signal);
      setOffered({ head: text.slice(0, found.start), words: found.words });
      setAt(-1);
    } catch {
      if (!stop.signal.aborted) setOffered(null);
    }
  };

  // What was offered for less of the line is narrowed at once: a key may come before the node's next answer.
  const head = offered && line.startsWith(offered.head) ? offered.head : null;
  const begun = head === null ? "" : line.slice(head.length).toLowerCase();
  const words = head === null ? [] : offered!.words.filter((one) => one.word.toLowerCase().startsWith(begun));

  const take = (word: string): void => {
    const made = head + word + (/^[!$]|[(.]$/.test(word) ? "" : " ");
    setLine(made);
    input.current?.focus();
    void offer(made);
  };

  const recall = (step: number): void => {
    const next = Math.max(-1, Math.min(past.list.length - 1, past.at + step));
    if (next === past.at) return;
    const typed = past.at < 0 ? line : past.typed;
    setPast({ ...past, at: next, typed });
    setLine(next < 0 ? typed : past.list[next]!);
    setOffered(null);
  };

  const key = (event: KeyboardEvent): void => {
    const chosen = words[at];
    if (event.key === "Enter") {
      event.preventDefault();
      if (chosen) take(chosen.word);
      else void run();
    } else if (event.key === "Tab" && !event.shiftKey && line && words.length) {
      const word = chosen ?? (words.length === 1 ? words[0] : undefined);
      const same = prefix(words.map((one) => one.word));
      if (word) take(word.word);
      else if (same.length > begun.length) setLine(head + same);
      else setAt(0);
      event.preventDefault();
    } else if (event.key === "Escape") setOffered(null);
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      const step = event.key === "ArrowDown" ? 1 : -1;
      if (at >= 0 || (step > 0 && words.length && past.at < 0)) setAt(Math.max(-1, Math.min(words.length - 1, at + step)));
      else recall(-step);
    }
  };

  return (
    <>
      <Head title="Console" about="Tab completes, arrows recall, Enter runs. Every command is at: help" />
      <section class="card terminal">
        <div class="terminal-out" ref={out} tabIndex={0} role="log" aria-label="Answers">
          {said.length === 0 && <p class="muted">Try: get status · get processes · get rows count · help index</p>}
          {said.map((one, number) => (
            <div key={number} class="said">
              <p class="said-line">
                <span aria-hidden="true">EL {state?.node.name ?? ""} &gt; </span>
                {one.line}
                <small>{Math.round(one.ms)} ms</small>
              </p>
              <pre class={one.failed ? "is-bad" : ""}>{one.text.replace(/\r\n/g, "\n").replace(/^\n+|\s+$/g, "")}</pre>
              {one.hint && <p class="muted">What helps: {one.hint}</p>}
            </div>
          ))}
        </div>
        <div class="terminal-in">
          {words.length > 0 && (
            <ul class="offers up" id={id} role="listbox" aria-label="How the line may go on">
              {words.map((one, number) => (
                <li
                  key={one.word}
                  id={`${id}-${number}`}
                  role="option"
                  aria-selected={number === at}
                  onMouseDown={(event) => {
                    event.preventDefault();
                    take(one.word);
                  }}
                >
                  <span>{one.word}</span>
                  <small>{one.about}</small>
                </li>
              ))}
            </ul>
          )}
          <label class="prompt">
            <span aria-hidden="true">&gt;</span>
            <input
              ref={input}
              value={line}
              aria-label="Command"
              role="combobox"
              aria-expanded={words.length > 0}
              aria-controls={id}
              aria-activedescendant={at >= 0 ? `${id}-${at}` : undefined}
              autocomplete="off"
              autocapitalize="off"
              spellcheck={false}
              placeholder="get status"
              onInput={(event) => {
                setLine(event.currentTarget.value);
                setAt(-1);
                void offer(event.currentTarget.value);
              }}
              onKeyDown={key}
              onBlur={() => setTimeout(() => setOffered(null), 150)}
            />
          </label>
          <button type="button" class="primary" onClick={run} disabled={busy || !line.trim()}>
            Run
          </button>
        </div>
      </section>
    </>
  );
}

/** What all words begin with. */
function prefix(words: string[]): string {
  const [first = "", ...others] = words;
  let length = first.length;
  for (const one of others) while (length && !one.startsWith(first.slice(0, length))) length -= 1;
  return first.slice(0, length);
}
