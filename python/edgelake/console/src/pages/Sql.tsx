// Statements: written with help, run, shown as a table and a chart, saved and shared.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, at, get, post } from "../lib/api";
import { compact, count, plural } from "../lib/format";
import { forget, keep, kept } from "../lib/kept";
import { ask, csv, plotted, shapeOf, type Answer } from "../lib/result";
import { replace, type Route } from "../lib/route";
import {
  condition,
  offersAt,
  PRESETS,
  ranged,
  tablesIn,
  timeColumn,
  withRange,
  type Catalogue,
  type Column,
  type Range,
} from "../lib/sql";
import { Chart } from "../parts/Chart";
import { Editor } from "../parts/Editor";
import { Grid } from "../parts/Grid";
import { Card, copyText, Empty, Failure, Head, save } from "../parts/ui";

interface Plan {
  columns: string[];
  partitions: number;
  scans: string[];
  merge: string | null;
  increments: string | null;
}

const COMPACT = { maximumFractionDigits: 4 };
const shown = (n: number): string => (Math.abs(n) >= 100_000 ? compact(n) : n.toLocaleString("en-US", COMPACT));

export function Sql({ route }: { route: Route }) {
  const { values } = route;
  const [statement, setStatement] = useState(values.get("q") ?? kept("sql")[0] ?? "");
  const [range, setRange] = useState<Range>({
    preset: values.get("range") ?? "",
    from: values.get("from") ?? "",
    to: values.get("to") ?? "",
  });
  const [network, setNetwork] = useState(values.get("network") === "true");
  const { catalogue, dbms, setDbms, problem: unknown } = useCatalogue(values.get("dbms") ?? "");
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [plan, setPlan] = useState<Plan | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const [history, setHistory] = useState(kept("sql"));
  const running = useRef<AbortController | null>(null);
  const [busy, setBusy] = useState(false);

  const columns = catalogue.get(dbms)?.get(tablesIn(statement)[0] ?? "");
  const complete = (text = statement, within = range): string => ranged(text, condition(within, timeColumn(columns)));

  const run = async (text = statement, within = range): Promise<void> => {
    if (!text.trim() || running.current) return;
    const stop = (running.current = new AbortController());
    setBusy(true);
    setProblem(null);
    setPlan(null);
    const address = { dbms, q: text, range: within.preset, from: within.from, to: within.to };
    replace("sql", { ...address, network: network ? "true" : "" });
    setHistory(keep("sql", text));
    try {
      setAnswer(await ask({ sql: complete(text, within), dbms, network, timezone: "utc" }, stop));
    } catch (failed) {
      setAnswer(null);
      setProblem(stop.signal.aborted ? new ApiError(0, "The query was cancelled") : failed);
    } finally {
      running.current = null;
      setBusy(false);
    }
  };

  const explain = async (): Promise<void> => {
    setProblem(null);
    try {
      setPlan(await post<Plan>("/v1/explain", { sql: complete(), dbms }));
    } catch (failed) {
      setPlan(null);
      setProblem(failed);
    }
  };

  const choose = (changed: Partial<Range>): void => {
    const next = { ...range, ...changed };
    setRange(next);
    if (next.preset) setStatement((text) => withRange(text));
  };

  // An address with a statement, of a link or of the browser's history, is run.
  useEffect(() => {
    const [asked, wanted] = [values.get("q"), values.get("dbms") ?? dbms];
    if (!asked || !dbms) return;
    if (wanted !== dbms) return setDbms(wanted);
    const within = { preset: values.get("range") ?? "", from: values.get("from") ?? "", to: values.get("to") ?? "" };
    setStatement(asked);
    setRange(within);
    void run(asked, within);
  }, [values.toString(), dbms === (values.get("dbms") ?? dbms) && dbms !== ""]);

  return (
    <>
      <Head title="SQL" about="Ctrl+Enter runs, Ctrl+Space completes." />
      <section class="card sql">
        <div class="tools">
          <label>
            Database
            <select value={dbms} onChange={(event) => setDbms(event.currentTarget.value)}>
              {[...catalogue.keys()].map((name) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
          <label>
            Time range
            <select value={range.preset} onChange={(event) => choose({ preset: event.currentTarget.value })}>
              {PRESETS.map(([key, title]) => (
                <option key={key} value={key}>
                  {title}
                </option>
              ))}
              <option value="custom">From … to …</option>
            </select>
          </label>
          {range.preset === "custom" && (
            <>
              <label>
                From
                <input type="datetime-local" value={range.from} onInput={(e) => choose({ from: e.currentTarget.value })} />
              </label>
              <label>
                To
                <input type="datetime-local" value={range.to} onInput={(e) => choose({ to: e.currentTarget.value })} />
              </label>
            </>
          )}
          <label class="check">
            <input type="checkbox" checked={network} onChange={(event) => setNetwork(event.currentTarget.checked)} />
            Ask the network
          </label>
        </div>
        <Editor
          value={statement}
          label="Statement"
          offers={(before) => offersAt(before, statement, dbms, catalogue)}
          onInput={setStatement}
          onRun={() => void run()}
        />
        <div class="tools">
          {busy ? (
            <button type="button" class="danger" onClick={() => running.current?.abort()}>
              Cancel
            </button>
          ) : (
            <button type="button" class="primary" onClick={() => void run()} disabled={!statement.trim()}>
              Run
            </button>
          )}
          <button type="button" onClick={explain} disabled={!statement.trim()}>
            Explain
          </button>
          <Share />
          <History
            history={history}
            choose={setStatement}
            clear={() => {
              forget("sql");
              setHistory([]);
            }}
          />
          {busy && (
            <span class="muted" role="status">
              Running …
            </span>
          )}
        </div>
        {!statement && <Starters catalogue={catalogue} dbms={dbms} choose={setStatement} />}
      </section>
      <Failure problem={problem ?? unknown} />
      {plan && <PlanCard plan={plan} />}
      {answer && <Result answer={answer} />}
    </>
  );
}

/** Databases with their tables and columns; tables of the chosen database are asked for when it is chosen. */
function useCatalogue(wanted: string) {
  const [catalogue, setCatalogue] = useState<Catalogue>(new Map());
  const [dbms, setDbms] = useState(wanted);
  const [problem, setProblem] = useState<unknown>(null);
  useEffect(() => {
    get<{ databases: { name: string }[] }>("/v1/databases")
      .then(({ databases }) => {
        setCatalogue((known) => new Map(databases.map(({ name }) => [name, known.get(name) ?? new Map()])));
        if (!wanted) setDbms(databases[0]?.name ?? "");
      })
      .catch(setProblem);
  }, []);
  useEffect(() => {
    if (!dbms) return;
    get<{ tables: { name: string; columns: Column[] }[] }>(`/v1/databases/${at(dbms)}`)
      .then(({ tables }) =>
        setCatalogue((known) => new Map(known).set(dbms, new Map(tables.map((one) => [one.name, one.columns])))),
      )
      .catch(() => {});
  }, [dbms]);
  return { catalogue, dbms, setDbms, problem };
}

function Starters(props: { catalogue: Catalogue; dbms: string; choose: (text: string) => void }) {
  const tables = [...(props.catalogue.get(props.dbms)?.entries() ?? [])].slice(0, 6);
  if (!tables.length) return null;
  return (
    <p class="starters">
      <span class="muted">Begin with</span>
      {tables.map(([name, columns]) => (
        <button
          key={name}
          type="button"
          class="chip"
          onClick={() => props.choose(`select *\nfrom ${name}\norder by ${timeColumn(columns)} desc\nlimit 100`)}
        >
          {name}
        </button>
      ))}
    </p>
  );
}

function Share() {
  const [done, setDone] = useState(false);
  const share = async (): Promise<void> => {
    await copyText(location.href);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return (
    <button type="button" onClick={share}>
      {done ? "Link copied" : "Copy link"}
    </button>
  );
}

function History(props: { history: string[]; choose: (text: string) => void; clear: () => void }) {
  const box = useRef<HTMLDetailsElement>(null);
  if (!props.history.length) return null;
  return (
    <details class="menu-button" ref={box}>
      <summary>History</summary>
      <div class="popup">
        {props.history.slice(0, 30).map((one) => (
          <button
            key={one}
            type="button"
            onClick={() => {
              props.choose(one);
              box.current!.open = false;
            }}
          >
            {one}
          </button>
        ))}
        <button type="button" class="quiet" onClick={props.clear}>
          Forget all
        </button>
      </div>
    </details>
  );
}

function PlanCard({ plan }: { plan: Plan }) {
  return (
    <Card title="Plan" aside={<span class="muted">{plural(plan.partitions, "scan")}</span>}>
      <ol class="plan">
        {plan.scans.map((one, number) => (
          <li key={number}>
            <span class="badge idle">scan</span>
            <code>{one}</code>
          </li>
        ))}
        {plan.partitions > plan.scans.length && <li class="muted">… and {plan.partitions - plan.scans.length} more</li>}
        {plan.merge && (
          <li>
            <span class="badge good">merge</span>
            <code>{plan.merge}</code>
          </li>
        )}
        {plan.increments && (
          <li>
            <span class="badge idle">increments</span>
            <code>{plan.increments}</code>
          </li>
        )}
      </ol>
    </Card>
  );
}

function Result({ answer }: { answer: Answer }) {
  const { rows } = answer;
  const shape = useMemo(() => shapeOf(rows), [answer]);
  const canChart = rows.length > 1 && shape.numbers.length > 0;
  const [view, setView] = useState<"table" | "chart">(canChart && shape.times.length ? "chart" : "table");
  const now = view === "chart" && canChart ? "chart" : "table";
  return (
    <Card
      title={plural(rows.length, "row")}
      aside={
        <>
          <span class="muted">
            {count(answer.ms)} ms{answer.cut ? ", the rest was left out" : ""}
          </span>
          {canChart && (
            <div class="tabs" role="group" aria-label="How the answer is shown">
              {(["table", "chart"] as const).map((one) => (
                <button key={one} type="button" aria-pressed={now === one} onClick={() => setView(one)}>
                  {one === "table" ? "Table" : "Chart"}
                </button>
              ))}
            </div>
          )}
          <button type="button" onClick={() => save("answer.csv", "text/csv", csv(rows))}>
            CSV
          </button>
          <button type="button" onClick={() => save("answer.json", "application/json", JSON.stringify(rows, null, 1))}>
            JSON
          </button>
        </>
      }
    >
      {rows.length === 0 ? (
        <Empty>No rows.</Empty>
      ) : now === "chart" ? (
        <ResultChart answer={answer} />
      ) : (
        <Grid rows={rows} label="Answer" />
      )}
    </Card>
  );
}

function ResultChart({ answer }: { answer: Answer }) {
  const shape = useMemo(() => shapeOf(answer.rows), [answer]);
  const [over, setOver] = useState(shape.times[0] ?? "");
  const [values, setValues] = useState(shape.numbers.filter((one) => one !== "row_id").slice(0, 1));
  const [split, setSplit] = useState(shape.times.length ? (shape.texts[0] ?? "") : "");
  const [form, setForm] = useState<"line" | "area" | "points" | "bars">("line");
  const places = [...shape.times, ...shape.numbers];
  const chosen = values.filter((one) => shape.numbers.includes(one));
  const data = useMemo(
    () => plotted(answer.rows, places.includes(over) ? over : "", chosen, shape.texts.includes(split) ? split : ""),
    [answer, over, values, split],
  );
  return (
    <>
      <div class="tools">
        <Choice title="Over" value={over} options={places} none="number of the row" choose={setOver} />
        <fieldset class="checks">
          <legend>Values</legend>
          {shape.numbers.slice(0, 12).map((one) => (
            <label key={one} class="check">
              <input
                type="checkbox"
                checked={values.includes(one)}
                onChange={() => setValues(values.includes(one) ? values.filter((v) => v !== one) : [...values, one])}
              />
              {one}
            </label>
          ))}
        </fieldset>
        {shape.texts.length > 0 && <Choice title="A line for each" value={split} options={shape.texts} none="–" choose={setSplit} />}
        <Choice title="Form" value={form} options={["line", "area", "points", "bars"]} choose={(one) => setForm(one as "line")} />
      </div>
      {data.series.length === 0 ? (
        <Empty>Choose a value.</Empty>
      ) : (
        <Chart x={data.x} series={data.series} time={data.time} shape={form} label="Answer" height={320} show={shown} legend />
      )}
    </>
  );
}

function Choice(props: {
  title: string;
  value: string;
  options: string[];
  none?: string;
  choose: (value: string) => void;
}) {
  return (
    <label>
      {props.title}
      <select value={props.value} onChange={(event) => props.choose(event.currentTarget.value)}>
        {props.none !== undefined && <option value="">{props.none}</option>}
        {props.options.map((one) => (
          <option key={one}>{one}</option>
        ))}
      </select>
    </label>
  );
}
