// A chart over time (or over any number), drawn by uPlot.
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { colour } from "../lib/theme";

export type Series = (number | null)[];

export interface ChartProps {
  x: number[];
  series: { name: string; values: Series }[];
  label: string;
  height?: number;
  time?: boolean;
  shape?: "line" | "area" | "points" | "bars";
  show?: (value: number) => string;
  legend?: boolean;
  least?: number;
  /** What the scale reaches at least. */
  reach?: number;
}

const COLOURS = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"];

export function Chart(props: ChartProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shape = `${props.shape}|${props.time}|${props.legend}|${props.series.map((s) => s.name).join("|")}`;

  useEffect(() => {
    const element = box.current!;
    const make = (): void => {
      plot.current?.destroy();
      plot.current = new uPlot(options(props, element.clientWidth), data(props), element);
    };
    make();
    const resized = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width && plot.current && width !== plot.current.width) {
        plot.current.setSize({ width, height: props.height ?? 120 });
      }
    });
    resized.observe(element);
    addEventListener("theme", make);
    return () => {
      removeEventListener("theme", make);
      resized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape, props.height]);

  useEffect(() => {
    plot.current?.setData(data(props));
  }, [props.x, props.series]);

  return <div class="chart" ref={box} role="img" aria-label={`Chart: ${props.label}`} />;
}

const data = (props: ChartProps): uPlot.AlignedData =>
  [props.x, ...props.series.map((s) => s.values)] as uPlot.AlignedData;

function options(props: ChartProps, width: number): uPlot.Options {
  const { shape = "line", show = String, time = true, legend = false, height = 120 } = props;
  const axis = { stroke: colour("muted"), grid: { stroke: colour("grid"), width: 1 }, ticks: { show: false }, font };
  const bars = uPlot.paths.bars!({ size: [0.7, 60], radius: 0.15 });
  return {
    width: Math.max(width, 50),
    height,
    padding: [8, 8, 0, 0],
    cursor: { y: false, points: { size: 7 }, drag: { x: legend, y: false } },
    legend: { show: legend, live: legend },
    scales: { x: { time }, y: { range: (_u, min, max) => bounds(min, max, props.least, props.reach) } },
    axes: [
      { ...axis, size: 26, space: 70, ...(time ? { values: clockTicks } : {}) },
      { ...axis, size: legend ? 62 : 52, space: 28, values: (_u, ticks) => ticks.map((tick) => show(tick)) },
    ],
    series: [
      time ? { value: (_u, seconds) => (seconds === null ? "" : stamp(seconds)) } : {},
      ...props.series.map((one, at) => {
        const stroke = colour(COLOURS[at % COLOURS.length]!);
        const area = shape === "area" || shape === "bars";
        return {
          label: one.name,
          stroke,
          width: 1.6,
          ...(area ? { fill: `${stroke}2b` } : {}),
          ...(shape === "points" ? { paths: () => null } : {}),
          ...(shape === "bars" ? { paths: bars } : {}),
          points: { show: shape === "points", size: 5 },
          value: (_u: uPlot, value: number | null) => (value === null ? "–" : show(value)),
        };
      }),
    ],
  };
}

const font = "11px system-ui, sans-serif";

function bounds(min: number | null, max: number | null, least?: number, reach?: number): [number, number] {
  if (min === null || max === null || !Number.isFinite(min) || !Number.isFinite(max)) return [0, 1];
  if (reach !== undefined && max < reach) return [Math.min(least ?? min, min), reach];
  const low = least === undefined ? min - (max - min) * 0.08 : Math.min(least, min);
  const high = max === low ? low + Math.max(1, Math.abs(low) * 0.1) : max + (max - low) * 0.08;
  return [max === min && least === undefined ? low - Math.max(1, Math.abs(low) * 0.1) : low, high];
}

const two = (n: number): string => String(n).padStart(2, "0");

function clockTicks(_u: uPlot, ticks: number[], _axis: number, _space: number, step: number): string[] {
  return ticks.map((tick) => {
    const d = new Date(tick * 1000);
    const clock = `${two(d.getHours())}:${two(d.getMinutes())}`;
    if (step >= 86_400) return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
    if (step >= 3600 && d.getHours() === 0) return `${two(d.getMonth() + 1)}-${two(d.getDate())}`;
    return step < 60 ? `${clock}:${two(d.getSeconds())}` : clock;
  });
}

function stamp(seconds: number): string {
  const d = new Date(seconds * 1000);
  const day = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
  return `${day} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}
