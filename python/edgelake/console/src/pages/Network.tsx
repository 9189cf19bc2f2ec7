// The network as the policies of this node say: as a graph, on a grid of the earth, as a list.
import { useState } from "preact/hooks";
import { post } from "../lib/api";
import { ago, plural } from "../lib/format";
import { layout, type Edge } from "../lib/layout";
import { Badge, Card, Command, Dot, Empty, Failure, Head, useGet, type Tone } from "../parts/ui";
import { Tile } from "./Data";

interface Node {
  id: string;
  type: string;
  name: string;
  company: string;
  address: string | null;
  cluster: string | null;
  place: [number, number] | null;
  here: boolean;
  active: boolean;
  asked: number | null;
}

interface Cluster {
  id: string;
  name: string;
  company: string;
  status: string;
  members: string[];
  tables: { dbms: string; table: string }[];
  table_count: number;
}

interface Found {
  nodes: Node[];
  clusters: Cluster[];
  total: { nodes: number; clusters: number };
  metadata: { version: string; shared_version: string; policies: number; unconfirmed: number };
  problems: string[];
}

const tone = (one: Node): Tone => (one.here ? "good" : !one.active ? "bad" : one.asked ? "good" : "idle");
const said = (one: Node): string =>
  one.here ? "this node" : !one.active ? "does not respond" : one.asked ? "answers" : "was not asked yet";

export function Network() {
  const { data, problem, again } = useGet<Found>("/v1/network", 5000);
  const [asking, setAsking] = useState(false);
  const [failed, setFailed] = useState<unknown>(null);
  const ask = async (): Promise<void> => {
    setAsking(true);
    try {
      await post("/v1/command", { command: "test network", timeout: 30 });
      setFailed(null);
    } catch (refused) {
      setFailed(refused);
    }
    setAsking(false);
    again();
  };
  const down = data?.nodes.filter((one) => !one.active) ?? [];
  return (
    <>
      <Head title="Network" about="Nodes, clusters and tables, as the policies that this node has say.">
        <button type="button" class="primary" onClick={ask} disabled={asking || !data?.nodes.length}>
          {asking ? "Asking …" : "Ask every node"}
        </button>
      </Head>
      <Failure problem={failed ?? problem} />
      {data && (
        <>
          <div class="card tiles">
            <Tile title="Nodes" value={String(data.total.nodes)} />
            <Tile title="Do not respond" value={String(down.length)} />
            <Tile title="Clusters" value={String(data.total.clusters)} />
            <Tile title="Policies" value={String(data.metadata.policies)} />
            <Tile title="Metadata version" value={data.metadata.version.slice(0, 12)} />
            {data.metadata.unconfirmed > 0 && <Tile title="Not shared yet" value={String(data.metadata.unconfirmed)} />}
          </div>
          {data.problems.map((one) => (
            <p key={one} class="banner warn">
              {one}
            </p>
          ))}
          {data.nodes.length === 0 ? (
            <Card title="No nodes">
              <Empty>
                The policies name no node. <Command line="help run blockchain sync" />
              </Empty>
            </Card>
          ) : (
            <>
              <Graph found={data} />
              <div class="two">
                <Earth nodes={data.nodes} />
                <List nodes={data.nodes} clusters={data.clusters} />
              </div>
            </>
          )}
        </>
      )}
    </>
  );
}

const STEP = 46;
const MOST_DRAWN = 120;
const WIDTH = 900;

function Graph({ found }: { found: Found }) {
  const nodes = found.nodes.slice(0, MOST_DRAWN);
  const clusters = found.clusters.slice(0, MOST_DRAWN);
  const edges: Edge[] = [];
  const tables = new Map<string, string>();
  for (const cluster of clusters) {
    for (const member of cluster.members) edges.push({ from: `n ${member}`, to: `c ${cluster.id}` });
    for (const { dbms, table } of cluster.tables.slice(0, 30)) {
      const name = `${dbms}.${table}`;
      if (tables.size >= MOST_DRAWN && !tables.has(`t ${name}`)) continue;
      tables.set(`t ${name}`, name);
      edges.push({ from: `c ${cluster.id}`, to: `t ${name}` });
    }
  }
  const columns = [
    { x: 110, ids: nodes.map((one) => `n ${one.id}`) },
    { x: WIDTH / 2, ids: clusters.map((one) => `c ${one.id}`) },
    { x: WIDTH - 150, ids: [...tables.keys()] },
  ];
  const { spots, height } = layout(columns, edges, STEP);
  const about = `${plural(nodes.length, "node")}, ${plural(clusters.length, "cluster")}, ${plural(tables.size, "table")}`;
  return (
    <Card title="Who holds what" aside={<span class="muted">nodes, clusters, tables</span>}>
      <div class="graph-box" tabIndex={0} role="region" aria-label="Graph">
        <svg class="graph" viewBox={`0 0 ${WIDTH} ${height}`} role="img" aria-label={`Graph: ${about}`}>
          {edges.map(({ from, to }) => {
            const [a, b] = [spots.get(from), spots.get(to)];
            if (!a || !b) return null;
            const middle = (a.x + b.x) / 2;
            return <path key={`${from}${to}`} class="edge" d={`M${a.x} ${a.y}C${middle} ${a.y} ${middle} ${b.y} ${b.x} ${b.y}`} />;
          })}
          {nodes.map((one) => {
            const spot = spots.get(`n ${one.id}`)!;
            return (
              <g key={one.id} class={`spot ${tone(one)}`} transform={`translate(${spot.x} ${spot.y})`}>
                <title>{`${one.type} ${one.name} ${one.address ?? ""}: ${said(one)}`}</title>
                <circle r="9" />
                <text x="-16" y="-2" text-anchor="end">
                  {shorten(one.name || one.address || one.id, 13)}
                </text>
                <text x="-16" y="12" class="sub" text-anchor="end">
                  {one.type}
                </text>
              </g>
            );
          })}
          {clusters.map((one) => {
            const spot = spots.get(`c ${one.id}`)!;
            const name = shorten(one.name || one.id, 22);
            return (
              <g key={one.id} class="spot cluster" transform={`translate(${spot.x} ${spot.y})`}>
                <title>{`cluster ${one.name} of ${one.company}: ${plural(one.table_count, "table")}`}</title>
                <rect x="-80" y="-16" width="160" height="32" rx="9" />
                <text text-anchor="middle" y="5">
                  {name}
                </text>
              </g>
            );
          })}
          {[...tables].map(([id, name]) => {
            const spot = spots.get(id)!;
            return (
              <g key={id} class="spot table" transform={`translate(${spot.x} ${spot.y})`}>
                <title>{name}</title>
                <rect x="-6" y="-6" width="12" height="12" rx="3" />
                <text x="14" y="5">
                  {shorten(name, 18)}
                </text>
              </g>
            );
          })}
        </svg>
      </div>
    </Card>
  );
}

const shorten = (text: string, most: number): string => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

/** The earth as a grid of degrees, with the part that has nodes; no picture of it is fetched from anywhere. */
function Earth({ nodes }: { nodes: Node[] }) {
  const placed = nodes.filter((one) => one.place !== null);
  const view = around(placed.map((one) => one.place!));
  const lines = grid(view);
  const radius = view.width / 90;
  return (
    <Card title="Where they are" aside={<span class="muted">{plural(placed.length, "node")} with a place</span>}>
      {placed.length === 0 ? (
        <Empty>No policy of a node has a place (loc = latitude,longitude).</Empty>
      ) : (
        <svg
          class="earth"
          viewBox={`${view.x} ${view.y} ${view.width} ${view.height}`}
          role="img"
          aria-label={`Map of ${plural(placed.length, "node")}`}
        >
          {lines.map((one) => (
            <g key={`${one.axis}${one.at}`} class={one.at === 0 ? "degree zero" : "degree"}>
              {one.axis === "x" ? (
                <line x1={one.at} x2={one.at} y1={view.y} y2={view.y + view.height} />
              ) : (
                <line y1={-one.at} y2={-one.at} x1={view.x} x2={view.x + view.width} />
              )}
              <text
                x={one.axis === "x" ? one.at : view.x + view.width * 0.01}
                y={one.axis === "x" ? view.y + view.height * 0.985 : -one.at}
                style={{ fontSize: `${view.width / 45}px` }}
              >
                {degrees(one.axis, one.at)}
              </text>
            </g>
          ))}
          {placed.map((one) => (
            <g key={one.id} class={`spot ${tone(one)}`} transform={`translate(${one.place![1]} ${-one.place![0]})`}>
              <title>{`${one.type} ${one.name}: ${said(one)}`}</title>
              <circle r={radius} />
              <text x={radius * 1.6} y={radius * 0.8} style={{ fontSize: `${view.width / 38}px` }}>
                {shorten(one.name || one.type, 16)}
              </text>
            </g>
          ))}
        </svg>
      )}
    </Card>
  );
}

interface View {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The rectangle around places, twice as wide as high as the whole earth is. */
function around(places: [number, number][]): View {
  const latitudes = places.map((one) => one[0]);
  const longitudes = places.map((one) => one[1]);
  const [south, north] = [Math.min(...latitudes), Math.max(...latitudes)];
  const [west, east] = [Math.min(...longitudes), Math.max(...longitudes)];
  const width = Math.min(360, Math.max((east - west) * 1.6, (north - south) * 3.2, 6));
  const height = width / 2;
  const middle = { x: (east + west) / 2, y: -(south + north) / 2 };
  const inside = (at: number, size: number, most: number): number => Math.max(-most, Math.min(most - size, at - size / 2));
  return { x: inside(middle.x, width, 180), y: inside(middle.y, height, 90), width, height };
}

function grid(view: View): { axis: "x" | "y"; at: number }[] {
  const step = [90, 45, 30, 15, 10, 5, 2, 1, 0.5].find((one) => view.width / one >= 5) ?? 0.5;
  const found: { axis: "x" | "y"; at: number }[] = [];
  for (let at = Math.ceil(view.x / step) * step; at <= view.x + view.width; at += step) found.push({ axis: "x", at });
  const [low, high] = [-(view.y + view.height), -view.y];
  for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push({ axis: "y", at });
  return found;
}

function degrees(axis: "x" | "y", at: number): string {
  const side = axis === "x" ? (at < 0 ? "W" : "E") : at < 0 ? "S" : "N";
  return at === 0 ? "0°" : `${Math.abs(at)}°${side}`;
}

function List({ nodes, clusters }: { nodes: Node[]; clusters: Cluster[] }) {
  const names = new Map(clusters.map((one) => [one.id, one.name]));
  const ordered = [...nodes].sort((a, b) => Number(a.active) - Number(b.active));
  return (
    <Card title="Nodes">
      <ul class="nodes">
        {ordered.map((one) => (
          <li key={one.id}>
            <Dot tone={tone(one)} label={said(one)} />
            <div>
              <strong>{one.name || one.id}</strong> <Badge tone="idle">{one.type}</Badge>
              {one.here && <Badge tone="good">this node</Badge>}
              <p class="muted small">
                {[one.address, one.company, one.cluster && names.get(one.cluster)].filter(Boolean).join(" · ")}
                {one.asked && !one.here ? `, ${one.active ? "answered" : "was silent"} ${ago(one.asked)}` : ""}
              </p>
            </div>
          </li>
        ))}
      </ul>
    </Card>
  );
}
