/** The frame around every page: header, state of the connection, and the page that the address names. */
import { useEffect } from "preact/hooks";
import { AuditPage } from "./audit/AuditPage";
import { BalancersPage } from "./balancers/BalancersPage";
import { CachesPage } from "./caches/CachesPage";
import { FleetPage } from "./fleet/FleetPage";
import type { Page } from "./lib/url";
import { NodePage } from "./node/NodePage";
import { QueriesPage } from "./queries/QueriesPage";
import { RolloutsPage } from "./rollouts/RolloutsPage";
import { nowMs } from "./state/clock";
import { follow } from "./state/live";
import { keepCounting } from "./state/open";
import { route } from "./state/route";
import { SuggestionsPage } from "./suggestions/SuggestionsPage";
import { Banner } from "./ui/Banner";
import { Header } from "./ui/Header";

const TITLES: Record<Page, string> = {
  fleet: "",
  node: "",
  queries: "Queries",
  caches: "Caches",
  balancers: "Balancers",
  suggestions: "Suggestions",
  rollouts: "Rollouts",
  audit: "Audit",
};

export function App() {
  const { page, node, id } = route.value;
  // These pages follow samples of a node, and say of which one.
  const isFollowing = page === "node" || (id !== "" && (page === "caches" || page === "rollouts"));
  useEffect(() => {
    if (!isFollowing) follow("");
  }, [isFollowing]);
  useEffect(() => {
    // What is about one thing gives itself its name once it is known.
    const name = page === "node" ? node : id ? "" : TITLES[page];
    document.title = name ? `${name} · Flyball` : "Flyball";
  }, [page, node, id]);
  useEffect(keepCounting, []);
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
        {page === "caches" && <CachesPage />}
        {page === "balancers" && <BalancersPage />}
        {page === "suggestions" && <SuggestionsPage />}
        {page === "rollouts" && <RolloutsPage />}
        {page === "audit" && <AuditPage />}
        {page === "fleet" && <FleetPage />}
      </main>
    </>
  );
}
