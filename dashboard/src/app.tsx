/** The frame around every page: header, state of the connection, and the page that the address names. */
import { useEffect } from "preact/hooks";
import { FleetPage } from "./fleet/FleetPage";
import { NodePage } from "./node/NodePage";
import { QueriesPage } from "./queries/QueriesPage";
import { nowMs } from "./state/clock";
import { follow } from "./state/live";
import { route } from "./state/route";
import { Banner } from "./ui/Banner";
import { Header } from "./ui/Header";

export function App() {
  const { page, node } = route.value;
  useEffect(() => follow(page === "node" ? node : ""), [page, node]);
  useEffect(() => {
    const name = { node, queries: "Queries", fleet: "" }[page];
    document.title = name ? `${name} · Flyball` : "Flyball";
  }, [page, node]);
  return (
    <>
      <button type="button" class="skip" onClick={() => document.getElementById("main")?.focus()}>
        Skip to content
      </button>
      <Header />
      <Banner now={nowMs} />
      <main id="main" tabIndex={-1}>
        {page === "node" && <NodePage key={node} node={node} />}
        {page === "queries" && <QueriesPage />}
        {page === "fleet" && <FleetPage />}
      </main>
    </>
  );
}
