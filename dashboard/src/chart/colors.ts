/** Colours for canvases, read from the style sheet so that there is one place to change them. */

export interface ChartColors {
  text: string;
  grid: string;
  zero: string;
  hatch: string;
  reference: string;
  heatCold: string;
  heatHot: string;
  /** What charts stand on. */
  surface: string;
  font: string;
  series(name: string): string;
}

/** The colours of the theme in force now. */
export function readColors(): ChartColors {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string): string => style.getPropertyValue(name).trim();
  return {
    text: read("--chart-text"),
    grid: read("--chart-grid"),
    zero: read("--chart-zero"),
    hatch: read("--chart-hatch"),
    reference: read("--chart-reference"),
    heatCold: read("--heat-cold"),
    heatHot: read("--heat-hot"),
    surface: read("--surface"),
    font: `11px ${read("--font")}`,
    series: (name) => read(`--series-${name}`),
  };
}

/** `color` (as #rrggbb) with an opacity. */
export function withAlpha(color: string, alpha: number): string {
  return `${color}${Math.round(alpha * 255)
    .toString(16)
    .padStart(2, "0")}`;
}
