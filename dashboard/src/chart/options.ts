/** uPlot's options for each shape of chart. */
import type uPlot from "uplot";
import { BYTE_INCREMENTS } from "../lib/axis";
import { formatTick, type Unit } from "../lib/format";
import { type ChartColors, withAlpha } from "./colors";
import type { ChartModel } from "./model";

/** All charts that share crosshair and selection. */
export const SYNC_KEY = "flyball";

const LINE_WIDTH = 1.4;
const Y_AXIS_PX = 62;
/** Half the width of a label of the time axis, less the padding at the right. */
const EDGE_PX = 14;

const two = (n: number): string => String(n).padStart(2, "0");

/** Labels of a time axis: seconds, minutes or days, as fine as the ticks are; midnight shows its date. */
export function timeLabels(ticks: readonly number[], increment: number): string[] {
  return ticks.map((tick) => {
    const at = new Date(tick * 1000);
    const isMidnight = at.getHours() === 0 && at.getMinutes() === 0 && at.getSeconds() === 0;
    if (increment >= 86_400 || isMidnight) return `${two(at.getMonth() + 1)}-${two(at.getDate())}`;
    const minute = `${two(at.getHours())}:${two(at.getMinutes())}`;
    return increment < 60 ? `${minute}:${two(at.getSeconds())}` : minute;
  });
}

/** Indices of points that no line reaches because both neighbours are unknown. */
export function isolated(values: ArrayLike<number | null | undefined>): number[] {
  const found: number[] = [];
  for (let at = 0; at < values.length; at += 1) {
    if (values[at] != null && values[at - 1] == null && values[at + 1] == null) found.push(at);
  }
  return found;
}

function isNearEdge(u: uPlot, tick: number): boolean {
  return u.bbox.width / devicePixelRatio - u.valToPos(tick, "x") < EDGE_PX;
}

function axes(model: ChartModel, unit: Unit, colors: ChartColors): uPlot.Axis[] {
  const common = {
    stroke: colors.text,
    font: colors.font,
    grid: { stroke: colors.grid, width: 1 },
    ticks: { show: false },
  };
  const y: uPlot.Axis = {
    ...common,
    size: Y_AXIS_PX,
    space: 26,
    gap: 6,
    values: (_u, ticks) => ticks.map((tick) => formatTick(Math.abs(tick), unit)),
  };
  if (unit === "bytes" || unit === "bytes/s") y.incrs = BYTE_INCREMENTS;
  const x: uPlot.Axis = {
    ...common,
    size: 24,
    space: 72,
    gap: 6,
    values: (u, ticks, _axis, _space, increment) => {
      const labels = timeLabels(ticks, increment);
      // A label at the very edge would be cut off.
      return labels.map((label, at) => (isNearEdge(u, ticks[at] ?? 0) ? "" : label));
    },
  };
  return [x, model.shape === "heat" ? heatAxis(model, y) : y];
}

/** Names of rows instead of numbers, as many as there is room for. */
function heatAxis(model: ChartModel, axis: uPlot.Axis): uPlot.Axis {
  const rows = model.visible;
  const every = Math.max(1, Math.ceil(rows.length / 9));
  const shown = rows.map((_, at) => at).filter((at) => at % every === 0);
  return {
    ...axis,
    grid: { show: false },
    splits: () => shown.map((at) => rows.length - at - 0.5),
    values: () => shown.map((at) => rows[at]?.label ?? ""),
  };
}

function lines(model: ChartModel, colors: ChartColors): uPlot.Series[] {
  const isAlone = model.visible.length === 1;
  return model.visible.flatMap((row) => {
    const color = colors.series(row.color);
    const base: uPlot.Series = {
      stroke: color,
      width: LINE_WIDTH,
      ...(row.dash && { dash: row.dash }),
      points: {
        show: true,
        size: 3,
        fill: color,
        stroke: color,
        filter: (u, at) => isolated(u.data[at] ?? []),
      },
    };
    switch (model.shape) {
      case "heat":
        return [{ ...base, paths: () => null, points: { show: false } }];
      case "mirror": {
        const side = { ...base, fill: withAlpha(color, 0.14), fillTo: 0 };
        return [side, side];
      }
      case "stack":
        return [{ ...base, width: 1, fill: withAlpha(color, 0.5) }];
      default:
        return [isAlone ? { ...base, fill: withAlpha(color, 0.12), fillTo: 0 } : base];
    }
  });
}

/** Fills of a stack: each row's area ends where the row below begins. */
function bands(model: ChartModel, colors: ChartColors): uPlot.Band[] {
  if (model.shape !== "stack") return [];
  return model.visible
    .slice(1)
    .map((row, at) => ({ series: [at + 2, at + 1], fill: withAlpha(colors.series(row.color), 0.5) }));
}

export interface ChartHooks {
  clear(u: uPlot): void;
  draw(u: uPlot): void;
  cursor(u: uPlot): void;
  select(u: uPlot): void;
}

/** Options for a chart of `model`'s structure; `current` gives the model to scale by at any later time. */
export function optionsFor(
  current: () => ChartModel,
  unit: Unit,
  colors: ChartColors,
  size: { width: number; height: number },
  hooks: ChartHooks,
): uPlot.Options {
  const model = current();
  return {
    ...size,
    padding: [8, 8, 0, 0],
    legend: { show: false },
    scales: {
      x: { time: true, range: () => [current().fromSeconds, current().toSeconds] },
      y: { range: () => [current().yMin, current().yMax] },
    },
    axes: axes(model, unit, colors),
    series: [{}, ...lines(model, colors)],
    bands: bands(model, colors),
    cursor: {
      y: false,
      points: { show: model.shape !== "heat", size: 5 },
      drag: { x: true, y: false, setScale: false, dist: 4 },
      sync: { key: SYNC_KEY, setSeries: false, scales: ["x", null] },
      bind: { dblclick: () => null },
    },
    hooks: {
      drawClear: [hooks.clear],
      draw: [hooks.draw],
      setCursor: [hooks.cursor],
      setSelect: [hooks.select],
    },
  };
}
