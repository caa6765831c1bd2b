/**
 * Queries to ClickHouse by shape. While the pointer is over the table or something in it has the focus the order
 * stands still, so that nothing moves from under a click.
 */
import { useSignal } from "@preact/signals";
import type { QueryShape } from "../api/performance";
import { duration, seconds } from "../lib/format";
import { nowMs } from "../state/clock";
import { route } from "../state/route";
import { HeadCell } from "../ui/HeadCell";
import { useHeldOrder } from "../ui/useHeldOrder";
import type { QueriesController } from "./controller";
import { orderOf, SHAPE_COLUMNS, type ShapeColumn, shapeKey, sortShapes } from "./shapes";

/** Rows shown until the reader asks for all. */
const ROWS_AT_FIRST = 15;

export function ShapeTable({ controller }: { controller: QueriesController }) {
  const answer = controller.queries.value;
  if (!answer) return <p class="waiting">{controller.problem.value ? "Not known." : "Loading…"}</p>;
  const slow = seconds(answer.slow_ms / 1000);
  if (answer.shapes.length === 0)
    return (
      <p class="waiting">
        ClickHouse was asked nothing since the collector's start: memory and caches answered everything. Each
        kind of query will appear here with its time and what it read; those of {slow} or more are called
        slow, and come with advice.
      </p>
    );
  return (
    <>
      <p class="muted table-about">
        Queries that differ in times, nodes and filters only stand in one row. Slow means {slow} or more.
      </p>
      <Shapes shapes={answer.shapes} />
    </>
  );
}

function Shapes({ shapes }: { shapes: readonly QueryShape[] }) {
  const { sort, direction } = route.value;
  const [column, way] = orderOf(sort, direction);
  const isWhole = useSignal(false);
  const { rows, hold } = useHeldOrder(shapes, shapeKey, `${column.id} ${way}`, (all) =>
    sortShapes(all, column, way),
  );
  const shown = isWhole.value ? rows : rows.slice(0, ROWS_AT_FIRST);
  return (
    <>
      <section
        class="scroll"
        aria-label="Query shapes"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
        tabIndex={0}
        {...hold}
      >
        <table class="shapes">
          <thead>
            <tr>
              {SHAPE_COLUMNS.map((each) => (
                <HeadCell key={each.id} column={each} active={each === column ? way : null} />
              ))}
            </tr>
          </thead>
          {shown.map((shape) => (
            <ShapeRows key={shapeKey(shape)} shape={shape} />
          ))}
        </table>
      </section>
      {rows.length > ROWS_AT_FIRST && (
        <p class="table-foot">
          <button
            type="button"
            class="link"
            aria-expanded={isWhole.value}
            onClick={() => {
              isWhole.value = !isWhole.value;
            }}
          >
            {isWhole.value ? `Show the first ${ROWS_AT_FIRST} only` : `Show all ${rows.length} shapes`}
          </button>
        </p>
      )}
    </>
  );
}

function ShapeRows({ shape }: { shape: QueryShape }) {
  const isMarked = { slow: shape.slow > 0, failed: shape.failed > 0 };
  return (
    <tbody data-shape={shape.shape}>
      <tr>
        {SHAPE_COLUMNS.map((column) => (
          <td
            key={column.id}
            class={`s-${column.id}`}
            data-tone={isMarked[column.id as keyof typeof isMarked] ? "warn" : undefined}
          >
            {column.id === "last" ? <Last column={column} shape={shape} /> : column.text(shape, 0)}
          </td>
        ))}
      </tr>
      <tr class="more">
        <td colSpan={SHAPE_COLUMNS.length}>
          <div class="more-box">
            {shape.advice.length > 0 && (
              <ul class="advice" aria-label="What would make it faster">
                {shape.advice.map((text) => (
                  <li key={text}>
                    <b>Advice</b> {text}
                  </li>
                ))}
              </ul>
            )}
            <details>
              <summary>
                SQL of the slowest
                {shape.range_ms > 0 && <small> over {duration(shape.range_ms)}</small>}
              </summary>
              <pre>{shape.sql}</pre>
            </details>
          </div>
        </td>
      </tr>
    </tbody>
  );
}

/** Reads the ticking clock itself. */
function Last({ column, shape }: { column: ShapeColumn; shape: QueryShape }) {
  return <>{column.text(shape, nowMs.value)}</>;
}
