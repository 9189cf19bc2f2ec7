// Where readings come from, what becomes of them, and what was kept out. A payload can be tried without storing it.
import { useState } from "preact/hooks";
import { post } from "../lib/api";
import { ago, count, plural } from "../lib/format";
import { Grid, type Row } from "../parts/Grid";
import { Badge, Card, Command, Dot, Empty, Failure, Head, useGet } from "../parts/ui";

interface Counted {
  messages: number;
  errors: number;
  last_message: number | null;
  last_error: string | null;
}

interface Topic extends Counted {
  name: string;
  dbms: string | null;
  table: string | null;
  qos: number;
  policies: string[];
  columns: { name: string; type: string; value: string }[];
}

interface Client extends Counted {
  id: number;
  broker: string;
  agent: string | null;
  connection: string;
  topics: Topic[];
}

interface Mapping {
  id: string;
  name: string;
  dbms: string;
  table: string;
  columns: string[];
}

interface Connected {
  client_id: string;
  user: string | null;
  address: string | null;
  version: string;
  subscriptions: number;
  queued: number;
}

interface Sources {
  clients: Client[];
  mappings: Mapping[];
  connected: Connected[];
}

interface Rejected {
  tables: { dbms: string; table: string; rows: number }[];
  files: {
    file: string;
    time: number;
    dbms: string;
    table: string;
    error: string;
    count: number | null;
    reasons: { row: number; reason: string }[];
    rows: string[];
  }[];
}

interface Previewed {
  targets: {
    dbms: string;
    table: string;
    connected: boolean;
    exists: boolean;
    columns: { name: string; type: string; new: boolean }[];
    rows: Row[];
    count: number;
    unfit: { row: number; reason: string }[];
  }[];
  rejected: { element: number; number: number; reason: string }[];
  commands: string[];
}

export function Ingest() {
  const sources = useGet<Sources>("/v1/clients", 3000);
  const rejected = useGet<Rejected>("/v1/rejected", 5000);
  return (
    <>
      <Head title="Ingest" about="Messages, how they are mapped to rows, and what was kept out." />
      <Failure problem={sources.problem} />
      <Try sources={sources.data} />
      {sources.data && <Clients clients={sources.data.clients} />}
      <div class="two">
        {sources.data && <Mappings mappings={sources.data.mappings} />}
        {sources.data && <ConnectedCard connected={sources.data.connected} />}
      </div>
      <Failure problem={rejected.problem} />
      {rejected.data && <RejectedCard found={rejected.data} />}
    </>
  );
}

function Try({ sources }: { sources: Sources | null }) {
  const [way, setWay] = useState("");
  const [target, setTarget] = useState({ dbms: "", table: "" });
  const [payload, setPayload] = useState('{"value": 1}');
  const [found, setFound] = useState<Previewed | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const first = sources?.clients[0];
  const chosen = way || (first ? `client ${first.id} ${first.topics[0]?.name ?? ""}` : "table");

  const run = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const [kind, which = "", ...topic] = chosen.split(" ");
    const ways: Record<string, object> = {
      client: { client: Number(which), topic: topic.join(" ") },
      policy: { policy: which, ...target },
      table: target,
    };
    try {
      setFound(await post<Previewed>("/v1/preview", { payload, ...ways[kind!] }));
      setProblem(null);
    } catch (failed) {
      setFound(null);
      setProblem(failed);
    }
  };

  return (
    <Card title="Try a payload" aside={<span class="muted">nothing is stored</span>}>
      <form class="try" onSubmit={run}>
        <div class="tools">
          <label>
            As if it came to
            <select value={chosen} onChange={(event) => setWay(event.currentTarget.value)}>
              {sources?.clients.flatMap((one) =>
                one.topics.map((topic) => (
                  <option key={`${one.id} ${topic.name}`} value={`client ${one.id} ${topic.name}`}>
                    {`client ${one.id} (${one.broker}), topic ${topic.name}`}
                  </option>
                )),
              )}
              {sources?.mappings.map((one) => (
                <option key={one.id} value={`policy ${one.id}`}>{`mapping ${one.name || one.id}`}</option>
              ))}
              <option value="table">a table, without a mapping</option>
            </select>
          </label>
          {!chosen.startsWith("client") && (
            <>
              <label>
                Database
                <input value={target.dbms} onInput={(e) => setTarget({ ...target, dbms: e.currentTarget.value })} />
              </label>
              <label>
                Table
                <input value={target.table} onInput={(e) => setTarget({ ...target, table: e.currentTarget.value })} />
              </label>
            </>
          )}
        </div>
        <label class="field">
          Payload: an object, a list, or an object a line
          <textarea
            class="code"
            rows={5}
            value={payload}
            spellcheck={false}
            onInput={(event) => setPayload(event.currentTarget.value)}
          />
        </label>
        <div>
          <button class="primary">Try</button>
        </div>
      </form>
      <Failure problem={problem} />
      {found && <Tried found={found} />}
    </Card>
  );
}

function Tried({ found }: { found: Previewed }) {
  const none = found.targets.length === 0 && found.rejected.length === 0;
  return (
    <div class="tried" role="status">
      {found.targets.map((one) => (
        <section key={`${one.dbms}.${one.table}`}>
          <h3>
            {plural(one.count, "row")} of {one.dbms}.{one.table}{" "}
            {!one.connected && <Badge tone="warn">database is not connected</Badge>}
            {one.connected && !one.exists && <Badge tone="idle">new table</Badge>}
          </h3>
          <ul class="columns">
            {one.columns.map((column) => (
              <li key={column.name}>
                <code>{column.name}</code>
                <span class="muted">{column.type}</span>
                {column.new && one.exists && <Badge tone="good">new</Badge>}
              </li>
            ))}
          </ul>
          {one.rows.length > 0 && <Grid rows={one.rows} label={`Rows of ${one.dbms}.${one.table}`} />}
          {one.unfit.map((row) => (
            <p key={row.row} class="is-bad">
              Row {row.row} is kept out: {row.reason}
            </p>
          ))}
        </section>
      ))}
      {found.rejected.map((one, at) => (
        <p key={at} class="is-bad">
          {one.element ? `Element ${one.element}` : "The payload"} cannot be mapped: {one.reason}
        </p>
      ))}
      {found.commands.map((one, at) => (
        <p key={at}>
          It would run <code>{one}</code>
        </p>
      ))}
      {none && <Empty>It would become no row.</Empty>}
    </div>
  );
}

function Clients({ clients }: { clients: Client[] }) {
  return (
    <Card title="Message clients" aside={<span class="muted">{clients.length}</span>}>
      {clients.length === 0 && (
        <Empty>
          No messages are subscribed. <Command line="help run msg client" />
        </Empty>
      )}
      {clients.map((one) => (
        <article key={one.id} class="client">
          <h3>
            <Dot tone={one.errors ? "warn" : "good"} label={one.errors ? "has errors" : "no errors"} /> Client {one.id}
            <span class="muted">
              {one.broker}
              {one.agent ? `, agent ${one.agent}` : ""} · {one.connection}
            </span>
          </h3>
          {one.topics.map((topic) => (
            <TopicRow key={topic.name} topic={topic} />
          ))}
        </article>
      ))}
    </Card>
  );
}

function TopicRow({ topic }: { topic: Topic }) {
  const to = topic.policies.length ? `policy ${topic.policies.join(", ")}` : `${topic.dbms ?? "?"}.${topic.table ?? "?"}`;
  return (
    <details class="topic">
      <summary>
        <code>{topic.name}</code>
        <span class="arrow" aria-hidden="true">
          →
        </span>
        <span class="topic-to">{to}</span>
        <span class="muted">
          {plural(topic.messages, "message")}
          {topic.errors > 0 && <span class="is-bad">, {count(topic.errors)} failed</span>}, last {ago(topic.last_message)}
        </span>
      </summary>
      {topic.last_error && <p class="is-bad">Last error: {topic.last_error}</p>}
      {topic.columns.length > 0 ? (
        <ul class="columns">
          {topic.columns.map((one) => (
            <li key={one.name}>
              <code>{one.name}</code>
              <span class="muted">
                {one.type} = {one.value}
              </span>
            </li>
          ))}
        </ul>
      ) : (
        <p class="muted">The columns are those of the policy, or of the data.</p>
      )}
    </details>
  );
}

function Mappings({ mappings }: { mappings: Mapping[] }) {
  return (
    <Card title="Mapping policies" aside={<span class="muted">{mappings.length}</span>}>
      {mappings.length === 0 ? (
        <Empty>There are none.</Empty>
      ) : (
        <ul class="plain">
          {mappings.map((one) => (
            <li key={one.id}>
              <strong>{one.name || one.id}</strong>{" "}
              <span class="muted">
                {one.dbms}.{one.table}: {one.columns.join(", ")}
              </span>
            </li>
          ))}
        </ul>
      )}
    </Card>
  );
}

function ConnectedCard({ connected }: { connected: Connected[] }) {
  return (
    <Card title="At the message broker" aside={<span class="muted">{connected.length}</span>}>
      {connected.length === 0 ? (
        <Empty>Nobody is connected.</Empty>
      ) : (
        <div class="grid-box">
          <table class="grid">
            <thead>
              <tr>
                <th scope="col">Client</th>
                <th scope="col">User</th>
                <th scope="col">Address</th>
                <th scope="col" class="number">
                  Subscriptions
                </th>
                <th scope="col" class="number">
                  Queued
                </th>
              </tr>
            </thead>
            <tbody>
              {connected.map((one) => (
                <tr key={one.client_id}>
                  <td>{one.client_id}</td>
                  <td>{one.user ?? "–"}</td>
                  <td>{one.address ?? "away"}</td>
                  <td class="number">{one.subscriptions}</td>
                  <td class="number">{count(one.queued)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </Card>
  );
}

function RejectedCard({ found }: { found: Rejected }) {
  const total = found.tables.reduce((sum, one) => sum + one.rows, 0);
  return (
    <Card title="Rejected" aside={<span class="muted">{plural(total, "row")} since the start</span>}>
      {found.files.length === 0 && <Empty>Nothing was kept out.</Empty>}
      {found.files.map((one) => (
        <details key={one.file} class="topic">
          <summary>
            <code>
              {one.dbms}.{one.table}
            </code>
            <span class="topic-to is-bad">{one.reasons[0]?.reason ?? one.error}</span>
            <span class="muted">
              {one.count === null ? "" : `${plural(one.count, "row")}, `}
              {ago(one.time)}
            </span>
          </summary>
          <p class="muted small">{one.file}</p>
          {one.reasons.map((reason) => (
            <p key={reason.row}>
              Row {reason.row}: {reason.reason}
            </p>
          ))}
          {one.rows.length > 0 && <pre class="block">{one.rows.join("\n")}</pre>}
        </details>
      ))}
    </Card>
  );
}
