// The parts that need no page: statements, answers, events, places of a graph.
import { describe, expect, it } from "vitest";
import { parse } from "../src/lib/api";
import { bytes, span } from "../src/lib/format";
import { layout } from "../src/lib/layout";
import { EventReader } from "../src/lib/live";
import { csv, plotted, seconds, shapeOf } from "../src/lib/result";
import { coloured, condition, offersAt, ranged, tablesIn, timeColumn, withRange } from "../src/lib/sql";

describe("time ranges", () => {
  it.each([
    ["select a from t", "select a from t where $range"],
    ["select a from t where b = 1", "select a from t where $range and b = 1"],
    ["select a from t group by a order by a", "select a from t where $range group by a order by a"],
    ["select a from t\nlimit 5", "select a from t where $range\nlimit 5"],
    ["select a from t where $range", "select a from t where $range"],
  ])("goes into %j", (before, after) => expect(withRange(before)).toBe(after));

  it.each([
    ["select a from t where $range", "select a from t"],
    ["select a from t where $range and b = 1", "select a from t where b = 1"],
    ["select a from t where b = 1 and $range limit 5", "select a from t where b = 1 limit 5"],
  ])("goes out of %j for all time", (before, after) => expect(ranged(before, "")).toBe(after));

  it("is a condition on the chosen column", () => {
    const now = Date.parse("2026-01-01T01:00:00Z");
    expect(condition({ preset: "1h", from: "", to: "" }, "ts", now)).toBe("ts >= '2026-01-01T00:00:00.000Z'");
    expect(condition({ preset: "custom", from: "nonsense", to: "" }, "ts", now)).toBe("");
    expect(ranged("where $range or x", "a = 1")).toBe("where (a = 1) or x");
  });
});

describe("completion", () => {
  const known = new Map([["plant", new Map([["motor", [{ name: "speed", type: "float" }, { name: "ts", type: "timestamp" }]]])]]);
  const words = (before: string, all = before): string[] => offersAt(before, all, "plant", known).map((one) => one.word);

  it("knows tables, columns of the statement, functions and words", () => {
    expect(words("select * from mo")).toContain("motor");
    expect(words("select sp", "select sp from motor")[0]).toBe("speed");
    expect(words("select sp", "select sp from other")).not.toContain("speed");
    expect(words("select cou")[0]).toBe("count");
    expect(words("plant.")).toEqual(["motor"]);
    expect(words("motor.")).toEqual(["speed", "ts"]);
    expect(words("$ra")).toEqual(["$range"]);
  });
  it("knows which column is the time", () => {
    expect(timeColumn(known.get("plant")!.get("motor"))).toBe("ts");
    expect(timeColumn(undefined)).toBe("timestamp");
    expect(tablesIn("select a from plant.motor m join pump p on 1")).toEqual(["motor", "pump"]);
  });
  it("colours without losing a character", () => {
    const text = "select count(*) from \"t\" where a = 'it''s <b>' -- note\nand b > 1.5";
    expect(coloured(text).map(([, piece]) => piece).join("")).toBe(text);
    expect(coloured(text)).toContainEqual(["t-text", "'it''s <b>'"]);
  });
});

describe("answers", () => {
  const rows = [
    { ts: "2026-01-01T00:00:00Z", device: "a", v: 1 },
    { ts: "2026-01-01T00:00:00Z", device: "b", v: 2 },
    { ts: "2026-01-01T00:01:00Z", device: "a", v: null },
  ];
  it("are told apart by their values", () => {
    expect(shapeOf(rows)).toEqual({ times: ["ts"], numbers: ["v"], texts: ["device"] });
    expect(seconds("2026-01-01 00:00:00.5")).toBe(Date.parse("2026-01-01T00:00:00.5Z") / 1000);
    expect(seconds("2026")).toBeNull();
  });
  it("become a series for each value of a column", () => {
    const found = plotted(rows, "ts", ["v"], "device");
    expect(found.series.map((one) => one.name)).toEqual(["a", "b"]);
    expect(found.x).toHaveLength(1);
  });
  it("become CSV that reads back", () => {
    expect(csv([{ a: 'x"y', b: null, c: "" }, { a: "1,2", b: 3, c: "z" }])).toBe('a,b,c\r\n"x""y",,""\r\n"1,2",3,z\r\n');
  });
  it("keep whole numbers that JavaScript cannot hold", () => {
    const found = parse('{"a": 9007199254740993, "b": 5, "c": 1.5}') as Record<string, unknown>;
    expect([String(found["b"]), found["c"]]).toEqual(["5", 1.5]);
    if (typeof found["a"] === "string") expect(found["a"]).toBe("9007199254740993"); // as engines with the source do
  });
});

describe("events", () => {
  it("survive any split of the stream", () => {
    const text = 'retry: 2000\n\n:\n\nevent: state\nid: 7-1\ndata: {"a": "\\n"}\n\nevent: log\ndata: [1]\n\n';
    for (let cut = 0; cut <= text.length; cut += 1) {
      const seen: unknown[] = [];
      const reader = new EventReader((name, data) => seen.push([name, data]));
      reader.take(text.slice(0, cut));
      reader.take(text.slice(cut));
      expect(seen).toEqual([
        ["state", { a: "\n" }],
        ["log", [1]],
      ]);
      expect(reader.lastId).toBe("7-1");
    }
  });
});

describe("pictures", () => {
  it("put what is linked side by side", () => {
    const columns = [
      { x: 0, ids: ["n1", "n2"] },
      { x: 1, ids: ["c2", "c1"] },
    ];
    const edges = [
      { from: "n1", to: "c1" },
      { from: "n2", to: "c2" },
    ];
    const { spots, height } = layout(columns, edges, 10);
    expect(spots.get("c1")!.y).toBe(spots.get("n1")!.y);
    expect(height).toBe(30);
    expect(layout([], [], 10).height).toBeGreaterThan(0);
  });
  it("say amounts as people do", () => {
    expect([bytes(999), bytes(1500), bytes(2.5e9)]).toEqual(["999 B", "1.5 kB", "2.5 GB"]);
    expect([span(59), span(61), span(90_000)]).toEqual(["59 s", "1 min 1 s", "1 d 1 h"]);
  });
});
