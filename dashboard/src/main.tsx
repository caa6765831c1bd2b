/** Entry of the dashboard. */
import "uplot/dist/uPlot.min.css";
import "./style/font.css";
import "./style/base.css";
import "./style/fleet.css";
import "./style/node.css";
import "./style/alerts.css";
import "./style/queries.css";
import "./style/caches.css";
import "./style/balancers.css";
import "./style/changes.css";
import { render } from "preact";
import { App } from "./app";

const root = document.getElementById("app");
if (root) render(<App />, root);
