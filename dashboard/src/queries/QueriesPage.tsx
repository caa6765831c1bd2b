/** What the collector is asked, what answers it, and how well its caches do: for who runs it. */
import { useEffect, useRef } from "preact/hooks";
import { OldFigures } from "../ui/OldFigures";
import { ClearForm } from "./ClearForm";
import { CurvePanel } from "./CurvePanel";
import { QueriesController } from "./controller";
import { LocalCard } from "./LocalCard";
import { ShapeTable } from "./ShapeTable";
import { SharedCard } from "./SharedCard";
import { WindowCard } from "./WindowCard";

export function QueriesPage() {
  const controller = useController();
  return (
    <div class="queries">
      <h1>Queries</h1>
      <p class="lead muted">
        What this collector is asked and what answers it. Counts are since its start, lines are of the last
        ten minutes of this page.
      </p>
      <OldFigures source={controller} />
      <Caches controller={controller} />
      <section class="section" id="section-shapes">
        <h2>What ClickHouse is asked</h2>
        <ShapeTable controller={controller} />
      </section>
      <section class="section" id="section-clear">
        <h2>Clear what is kept</h2>
        <ClearForm onCleared={() => controller.pollNow()} />
      </section>
    </div>
  );
}

function useController(): QueriesController {
  const kept = useRef<QueriesController | null>(null);
  kept.current ??= new QueriesController();
  const controller = kept.current;
  useEffect(() => () => controller.dispose(), []);
  return controller;
}

function Caches({ controller }: { controller: QueriesController }) {
  const stats = controller.caches.value;
  if (!stats) {
    if (controller.problem.value) return null;
    return <p class="waiting">Waiting for the collector…</p>;
  }
  const steps = controller.steps.value;
  return (
    <>
      <section class="section" id="section-layers">
        <h2>What answers, the nearest first</h2>
        <div class="grid">
          <LocalCard
            layer="answers"
            title="Whole answers"
            about="In this process, ready to be sent."
            stats={stats.answers}
            steps={steps}
          />
          <WindowCard window={stats.window} steps={steps} />
          <LocalCard
            layer="l1"
            title="Parts of answers"
            about="In this process: some buckets of one question."
            stats={stats.l1}
            steps={steps}
          />
          <SharedCard stats={stats.l2} steps={steps} />
        </div>
      </section>
      <section class="section" id="section-curves">
        <h2>What another size would do</h2>
        <div class="grid">
          <CurvePanel id="answers" title="Whole answers" layer={stats.answers} />
          <CurvePanel id="l1" title="Parts of answers" layer={stats.l1} />
        </div>
      </section>
    </>
  );
}
