/** The hit ratio by size as small as a word, with the present size as a line. */
import { useMemo } from "preact/hooks";
import type { CacheInfo } from "../api/steering";
import { bytes, format, share } from "../lib/format";
import { sparkOf } from "./curve";

const WIDTH = 96;
const HEIGHT = 22;
const PAD = 2;

export function CurveSpark({ cache: { curve, max_bytes: most } }: { cache: CacheInfo }) {
  const key = JSON.stringify([curve?.points, most]);
  const spark = useMemo(() => curve && sparkOf(curve, most), [key]);
  if (!spark) return <>{format(null, "count")}</>;
  const x = (at: number): string => (PAD + at * (WIDTH - 2 * PAD)).toFixed(1);
  const y = (at: number): string => (HEIGHT - PAD - at * (HEIGHT - 2 * PAD)).toFixed(1);
  const along = (ends: readonly { at: number; level: number }[]): string =>
    ends.map(({ at, level }) => `${x(at)} ${y(level)}`).join("L");
  const band = `M${along(spark.highs)}L${along([...spark.lows].reverse())}Z`;
  const words = `${share(spark.first.hit_ratio)} at ${bytes(spark.first.bytes)} to ${share(spark.last.hit_ratio)} at ${bytes(spark.last.bytes)}`;
  return (
    <svg
      class="spark curve-spark"
      viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
      width={WIDTH}
      height={HEIGHT}
      role="img"
    >
      <title>{words}</title>
      <path class="spark-band" d={band} />
      <path class="spark-line" d={`M${along(spark.line)}`} />
      {spark.now !== null && <path class="spark-now" d={`M${x(spark.now)} 0V${HEIGHT}`} />}
    </svg>
  );
}
