// Rows of an answer as a table. Every cell is text, whatever stands in it.
import { useState } from "preact/hooks";
import { count } from "../lib/format";

export type Row = Record<string, unknown>;

const SHOWN = 500;

export function text(value: unknown): string {
  if (value === null || value === undefined) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

export function columnsOf(rows: Row[]): string[] {
  const found = new Set<string>();
  for (const row of rows.slice(0, 200)) for (const name of Object.keys(row)) found.add(name);
  return [...found];
}

export function Grid({ rows, label }: { rows: Row[]; label: string }) {
  const [order, setOrder] = useState<{ column: string; down: boolean } | null>(null);
  const columns = columnsOf(rows);
  const numeric = new Set(columns.filter((c) => rows.some((r) => typeof r[c] === "number")));
  const sorted = order && columns.includes(order.column) ? [...rows].sort(by(order.column, order.down)) : rows;
  const sort = (column: string): void => {
    if (order?.column !== column) setOrder({ column, down: false });
    else setOrder(order.down ? null : { column, down: true });
  };
  return (
    <div class="grid-box" tabIndex={0} role="region" aria-label={label}>
      <table class="grid">
        <thead>
          <tr>
            {columns.map((name) => {
              const here = order?.column === name ? order : null;
              return (
                <th
                  key={name}
                  class={numeric.has(name) ? "number" : ""}
                  aria-sort={here ? (here.down ? "descending" : "ascending") : "none"}
                >
                  <button type="button" onClick={() => sort(name)}>
                    {name}
                    <span aria-hidden="true">{here ? (here.down ? " ↓" : " ↑") : ""}</span>
                  </button>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {sorted.slice(0, SHOWN).map((row, at) => (
            <tr key={at}>
              {columns.map((name) => (
                <td key={name} class={numeric.has(name) ? "number" : ""}>
                  {row[name] === null || row[name] === undefined ? <span class="null">null</span> : text(row[name])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {rows.length > SHOWN && (
        <p class="empty">
          The first {count(SHOWN)} of {count(rows.length)} rows; all of them are in the chart and in what you save.
        </p>
      )}
    </div>
  );
}

const by =
  (column: string, down: boolean) =>
  (one: Row, two: Row): number => {
    const [a, b] = [one[column], two[column]];
    const sign = down ? -1 : 1;
    if (a === null || a === undefined) return 1;
    if (b === null || b === undefined) return -1;
    if (typeof a === "number" && typeof b === "number") return (a - b) * sign;
    return text(a).localeCompare(text(b), undefined, { numeric: true }) * sign;
  };
