/** A trend as small as a word. Breaks where unknown; the axis is always 0 to 1, so that rows can be compared. */
import { useMemo } from "preact/hooks";

const WIDTH = 96;
const HEIGHT = 22;

interface Props {
  values: readonly (number | null)[];
  /** Points across the whole width; newer ones stand at the right. */
  capacity: number;
}

/** SVG path of the line; `area` closes it to the bottom. */
export function sparkPath(values: readonly (number | null)[], capacity: number, area: boolean): string {
  const step = WIDTH / Math.max(1, capacity - 1);
  const begin = WIDTH - (values.length - 1) * step;
  let path = "";
  let openX: string | null = null;
  values.forEach((value, at) => {
    if (value === null) {
      if (area && openX !== null) path += "V22Z";
      openX = null;
      return;
    }
    const x = (begin + at * step).toFixed(1);
    const y = (HEIGHT - 1.5 - Math.min(1, Math.max(0, value)) * (HEIGHT - 3)).toFixed(1);
    if (openX === null) {
      path += area ? `M${x} ${HEIGHT}V${y}` : `M${x} ${y}`;
      openX = x;
    } else path += `L${x} ${y}`;
  });
  return area && openX !== null ? `${path}V${HEIGHT}Z` : path;
}

export function Sparkline({ values, capacity }: Props) {
  const [line, area] = useMemo(
    () => [sparkPath(values, capacity, false), sparkPath(values, capacity, true)],
    [values],
  );
  return (
    <svg
      class="spark"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      width={WIDTH}
      height={HEIGHT}
      aria-hidden="true"
      preserveAspectRatio="none"
    >
      <path class="spark-area" d={area} />
      <path class="spark-line" d={line} />
    </svg>
  );
}
