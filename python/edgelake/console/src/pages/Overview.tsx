// What the node does now: its numbers over the last minutes, its services, tables that get rows, its log.
import { ago, bytes, clock, compact, count, rate, span } from "../lib/format";
import { useLive, type Service, type State } from "../lib/live";
import { link } from "../lib/route";
import { Chart, type Series } from "../parts/Chart";
import { Badge, Card, Command, Dot, Empty, Head } from "../parts/ui";

export function Overview() {
  const live = useLive();
  const { state } = live;
  if (!state) return <Head title="Overview" about="Waiting for the node …" />;
  return (
    <>
      <Head
        title={state.node.name || "Overview"}
        about={`EdgeLake ${state.node.version}, running for ${span(state.node.uptime_seconds)}`}
      >
        <Badge tone={state.ready ? "good" : "warn"}>{state.ready ? "Ready" : "Not ready"}</Badge>
      </Head>
      <Charts />
      <Services services={state.services} />
      <div class="two">
        <Tables state={state} before={live.before} />
        <Log />
      </div>
    </>
  );
}

function Charts() {
  const live = useLive();
  const numbers = live.state!.numbers;
  const limit = numbers["queue_limit_bytes"] || 1;
  const disk = numbers["disk_size_bytes"] || 1;
  const [times, cpu] = live.rate("cpu_seconds_total");
  const used = numbers["disk_size_bytes"]! - numbers["disk_free_bytes"]!;
  const [queueTimes, queue] = live.level("queue_bytes");
  const fill = queue.map((n) => (n === null ? null : (100 * n) / limit));
  const last = (values: Series): number | null => values[values.length - 1] ?? null;
  const rows = live.rate("rows_stored_total");
  const messages = live.rate("messages_total");
  const percent = (n: number): string => `${n < 10 ? Number(n.toFixed(1)) : Math.round(n)} %`;
  return (
    <div class="numbers">
      <Figure title="Rows stored" unit="/s" value={rate(last(rows[1]))} data={rows} show={compact} name="rows/s">
        {count(numbers["rows_stored_total"]!)} since the start, {count(numbers["rows_rejected_total"]!)} rejected
      </Figure>
      <Figure title="Messages" unit="/s" value={rate(last(messages[1]))} data={messages} show={compact} name="messages/s">
        {count(numbers["messages_total"]!)} since the start, {count(numbers["messages_failed_total"]!)} failed
      </Figure>
      <Figure title="Queue" value={percent(last(fill) ?? 0)} data={[queueTimes, fill]} show={percent} reach={1} name="fill">
        {bytes(numbers["queue_bytes"]!)} of {bytes(limit)}; {count(numbers["rows_buffered"]!)} rows wait
      </Figure>
      <Figure title="Journal" value={bytes(numbers["journal_bytes"]!)} data={live.level("journal_bytes")} show={bytes} name="bytes">
        Readings since the last checkpoint, safe on the disk
      </Figure>
      <Figure title="Memory" value={bytes(numbers["memory_bytes"]!)} data={live.level("memory_bytes")} show={bytes} name="bytes">
        Processor: {percent(100 * (cpu[cpu.length - 1] ?? 0))} of a core{times.length ? "" : " …"}
      </Figure>
      <Figure title="Disk free" value={bytes(numbers["disk_free_bytes"]!)} data={live.level("disk_free_bytes")} show={bytes} name="free">
        <meter class="bar" min={0} max={1} high={0.9} optimum={0} value={used / disk} aria-label="Disk in use" />
        {Math.round((100 * used) / disk)} % of {bytes(disk)} in use
      </Figure>
    </div>
  );
}

function Figure(props: {
  title: string;
  value: string;
  unit?: string;
  data: [number[], Series];
  show: (n: number) => string;
  name: string;
  reach?: number;
  children: preact.ComponentChildren;
}) {
  const [x, values] = props.data;
  return (
    <section class="card number-card">
      <h2>{props.title}</h2>
      <p class="big">
        {props.value}
        {props.unit && <small>{props.unit}</small>}
      </p>
      <Chart
        x={x}
        series={[{ name: props.name, values }]}
        label={props.title}
        height={108}
        shape="area"
        show={props.show}
        least={0}
        reach={props.reach ?? 1}
      />
      <p class="muted small">{props.children}</p>
    </section>
  );
}

function Services({ services }: { services: Service[] }) {
  const running = services.filter((one) => one.running);
  const idle = services.filter((one) => !one.running && !one.last_error);
  const failed = services.filter((one) => !one.running && one.last_error);
  return (
    <Card title="Services" aside={<span class="muted">{running.length} running</span>}>
      <ul class="services">
        {[...failed, ...running].map((one) => (
          <li key={one.name}>
            <Dot tone={one.running ? "good" : "bad"} label={one.running ? "running" : "failed"} />
            <div class="service-text">
              <strong>{one.name}</strong>
              <span class="muted">{one.last_error ?? one.details}</span>
            </div>
            <span class="muted small since">{one.since ? `since ${ago(one.since).replace(" ago", "")}` : ""}</span>
            <Command line={one.show} />
          </li>
        ))}
      </ul>
      {idle.length > 0 && (
        <details class="more">
          <summary>{idle.length} that do not run, and the commands that start them</summary>
          <ul class="services">
            {idle.map((one) => (
              <li key={one.name}>
                <Dot tone="idle" label="does not run" />
                <div class="service-text">
                  <strong>{one.name}</strong>
                  <span class="muted">{one.details}</span>
                </div>
                {one.start && <Command line={`help ${one.start}`} />}
              </li>
            ))}
          </ul>
        </details>
      )}
    </Card>
  );
}

function Tables({ state, before }: { state: State; before: State | null }) {
  const was = new Map((before?.tables ?? []).map((one) => [`${one.dbms}.${one.table}`, one.stored]));
  const seconds = before ? state.time - before.time : 0;
  return (
    <Card title="Tables that get rows" aside={<a href={link("sql")}>Query</a>}>
      {state.tables.length === 0 ? (
        <Empty>No rows came since the start.</Empty>
      ) : (
        <div class="grid-box">
          <table class="grid">
            <thead>
              <tr>
                <th scope="col">Table</th>
                <th scope="col" class="number">
                  Rows/s
                </th>
                <th scope="col" class="number">
                  Stored
                </th>
                <th scope="col" class="number">
                  Rejected
                </th>
                <th scope="col">Last row</th>
              </tr>
            </thead>
            <tbody>
              {state.tables.map((one) => {
                const name = `${one.dbms}.${one.table}`;
                const old = was.get(name);
                const grown = old !== undefined && seconds > 0 ? Math.max(0, (one.stored - old) / seconds) : null;
                const sql = `select * from ${one.table} order by timestamp desc limit 100`;
                return (
                  <tr key={name}>
                    <td>
                      <a href={link("sql", { dbms: one.dbms, q: sql })}>{name}</a>
                    </td>
                    <td class="number">{rate(grown)}</td>
                    <td class="number">{count(one.stored)}</td>
                    <td class={`number ${one.rejected ? "is-bad" : ""}`}>{count(one.rejected)}</td>
                    <td>{ago(one.last, state.time)}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

function Log() {
  const { logs } = useLive();
  return (
    <Card title="Log" aside={<span class="muted">since this page was opened</span>}>
      {logs.length === 0 ? (
        <Empty>Nothing has happened yet.</Empty>
      ) : (
        <ol class="log" tabIndex={0} aria-label="Log">
          {logs.slice(0, 60).map((one, at) => (
            <li key={`${one.time}${at}`} class={one.kind === "Error" ? "is-bad" : ""}>
              <time dateTime={one.time}>{clock(one.time)}</time>
              <span>
                {one.text}
                {one.count > 1 && ` (${one.count} times)`}
              </span>
            </li>
          ))}
        </ol>
      )}
    </Card>
  );
}
