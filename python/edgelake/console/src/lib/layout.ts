// Where the parts of a network stand: nodes at the left, the clusters that they belong to, the tables of these.
// Every column is spread evenly, in the order of what it is linked to, so that lines cross seldom.

export interface Spot {
  id: string;
  x: number;
  y: number;
}

export interface Column {
  ids: string[];
  x: number;
}

export interface Edge {
  from: string;
  to: string;
}

/** Places of all ids; the height follows the longest column. */
export function layout(columns: Column[], edges: Edge[], step: number): { spots: Map<string, Spot>; height: number } {
  const height = Math.max(1, ...columns.map((one) => one.ids.length)) * step + step;
  const spots = new Map<string, Spot>();
  for (const column of columns) {
    const weight = (id: string): number => {
      const linked = edges.filter((e) => e.to === id && spots.has(e.from)).map((e) => spots.get(e.from)!.y);
      return linked.length ? linked.reduce((a, b) => a + b, 0) / linked.length : Number.MAX_VALUE;
    };
    const weights = new Map(column.ids.map((id) => [id, weight(id)] as const));
    const ordered = [...column.ids].sort((a, b) => weights.get(a)! - weights.get(b)!);
    const gap = height / (ordered.length + 1);
    ordered.forEach((id, at) => spots.set(id, { id, x: column.x, y: gap * (at + 1) }));
  }
  return { spots, height };
}
