// Databases and tables of this node: what they hold, since when, in which pieces, and until when it is kept.
import { at } from "../lib/api";
import { ago, bytes, count, plural } from "../lib/format";
import { link, type Route } from "../lib/route";
import { AUTOMATIC, timeColumn } from "../lib/sql";
import { Card, Command, Empty, Failure, Head, useGet } from "../parts/ui";

interface Database {
  name: string;
  type: string;
  address: string;
  storage: string;
}

interface Listed {
  name: string;
  columns: { name: string; type: string }[];
}

interface Table {
  dbms: string;
  name: string;
  columns: { name: string; type: string; automatic: boolean }[];
  rows: number;
  bytes: number;
  time_column: string | null;
  first: string | null;
  last: string | null;
  partitioned: { column: string; every: string } | null;
  partitions: { name: string; from: string; to: string; rows: number | null; bytes: number | null }[];
  partition_count: number;
  retention: { rule: string; last_run: number; removed_rows: number }[];
}

export function Data({ route }: { route: Route }) {
  const { data, problem } = useGet<{ databases: Database[] }>("/v1/databases");
  const chosen = route.values.get("dbms") ?? data?.databases[0]?.name ?? "";
  const table = route.values.get("table") ?? "";
  const here = data?.databases.find((one) => one.name === chosen);
  return (
    <>
      <Head title="Data" about="Databases that are connected to this node, and their tables." />
      <Failure problem={problem} />
      {data && data.databases.length === 0 && (
        <Card title="No database">
          <Empty>
            <Command line="connect dbms plant where type = sqlite" />
          </Empty>
        </Card>
      )}
      <div class="shelf">
        <div class="shelf-list">
          {data?.databases.map((one) => (
            <Tables key={one.name} database={one} chosen={one.name === chosen ? table : null} />
          ))}
        </div>
        <div class="shelf-shown">
          {here && table ? (
            <Shown key={`${chosen}.${table}`} dbms={chosen} table={table} />
          ) : (
            here && (
              <Card title={here.name}>
                <dl class="facts">
                  <dt>Kind</dt>
                  <dd>{here.type}</dd>
                  <dt>Where</dt>
                  <dd>{here.storage || here.address}</dd>
                </dl>
                <p class="muted">Choose a table to see what it holds.</p>
              </Card>
            )
          )}
        </div>
      </div>
    </>
  );
}

function Tables({ database, chosen }: { database: Database; chosen: string | null }) {
  const { data, problem } = useGet<{ tables: Listed[] }>(`/v1/databases/${at(database.name)}`);
  return (
    <section class="card shelf-card">
      <h2>
        <a href={link("data", { dbms: database.name })}>{database.name}</a>
        <small class="muted">{database.type}</small>
      </h2>
      <Failure problem={problem} />
      {data && data.tables.length === 0 && <p class="muted small">no tables</p>}
      <ul>
        {data?.tables.map((one) => (
          <li key={one.name}>
            <a
              href={link("data", { dbms: database.name, table: one.name })}
              aria-current={one.name === chosen ? "true" : undefined}
            >
              <span>{one.name}</span>
              <small>{plural(one.columns.filter((c) => !AUTOMATIC.has(c.name)).length, "column")}</small>
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}

const shown = (iso: string | null): string => (iso ? iso.replace("T", " ").replace(/\.\d+|\+00:00$/g, "") : "–");

function Shown({ dbms, table }: { dbms: string; table: string }) {
  const { data, problem } = useGet<Table>(`/v1/databases/${at(dbms)}/${at(table)}`, 5000);
  if (problem) return <Failure problem={problem} />;
  if (!data) return <Card title={`${dbms}.${table}`}>Looking …</Card>;
  const own = data.columns.filter((one) => !one.automatic);
  const query = `select *\nfrom ${table}\norder by ${timeColumn(own)} desc\nlimit 100`;
  return (
    <>
      <Card title={`${dbms}.${table}`} aside={<a href={link("sql", { dbms, q: query })}>Query</a>}>
        <div class="tiles">
          <Tile title="Rows" value={count(data.rows)} />
          <Tile title="Room" value={bytes(data.bytes)} />
          <Tile title="First reading" value={shown(data.first)} />
          <Tile title="Last reading" value={shown(data.last)} />
        </div>
      </Card>
      <Card title="Columns" aside={<span class="muted">{own.length}</span>}>
        <ul class="columns">
          {data.columns.map((one) => (
            <li key={one.name} class={one.automatic ? "muted" : ""}>
              <code>{one.name}</code>
              <span class="muted">
                {one.type}
                {one.name === data.time_column ? ", time of the reading" : one.automatic ? ", by the node" : ""}
              </span>
            </li>
          ))}
        </ul>
      </Card>
      <Card
        title="Partitions"
        aside={
          <span class="muted">
            {data.partitioned ? `by ${data.partitioned.column}, every ${data.partitioned.every}` : "none declared"}
          </span>
        }
      >
        {data.partitions.length === 0 ? (
          <Empty>
            <Command line={`partition ${dbms} ${table} using ${data.time_column ?? "timestamp"} by 1 day`} />
          </Empty>
        ) : (
          <Partitions table={data} />
        )}
      </Card>
      <Card title="Retention">
        {data.retention.length === 0 ? (
          <Empty>
            No rule was followed since the node started. <Command line={`delete rows where dbms = ${dbms} and table = ${table} and days = 90 and dry_run = true`} />
          </Empty>
        ) : (
          <ul class="plain">
            {data.retention.map((one) => (
              <li key={one.rule}>
                Keeps <code>{one.rule}</code>; last followed {ago(one.last_run)}, removed {plural(one.removed_rows, "row")}
              </li>
            ))}
          </ul>
        )}
      </Card>
    </>
  );
}

function Partitions({ table }: { table: Table }) {
  const most = Math.max(1, ...table.partitions.map((one) => one.rows ?? 0));
  return (
    <div class="grid-box" tabIndex={0} role="region" aria-label="Partitions">
      <table class="grid">
        <thead>
          <tr>
            <th scope="col">From</th>
            <th scope="col">To</th>
            <th scope="col" class="number">
              Rows
            </th>
            <th scope="col" class="wide">
              Share
            </th>
            <th scope="col" class="number">
              Room
            </th>
          </tr>
        </thead>
        <tbody>
          {[...table.partitions].reverse().map((one) => (
            <tr key={one.name} title={one.name}>
              <td class="tight">{one.from}</td>
              <td class="tight">{one.to}</td>
              <td class="number">{one.rows === null ? "–" : count(one.rows)}</td>
              <td>
                <meter class="bar" min={0} max={most} value={one.rows ?? 0} aria-label={`Rows of ${one.name}`} />
              </td>
              <td class="number">{one.bytes === null ? "–" : bytes(one.bytes)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {table.partition_count > table.partitions.length && (
        <p class="empty">The last {table.partitions.length} of {count(table.partition_count)}.</p>
      )}
    </div>
  );
}

export function Tile({ title, value }: { title: string; value: string }) {
  return (
    <div class="tile">
      <span class="muted">{title}</span>
      <strong>{value}</strong>
    </div>
  );
}
