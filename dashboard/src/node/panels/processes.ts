/** Charts that stand beside the tables of processes. */
import { named, type Panel, single } from "../panel";
import { PROCESS_STATE } from "../sources";

const TASKS: Panel = {
  id: "tasks",
  title: "Processes started",
  unit: "ops/s",
  about:
    "New processes and threads a second. A constant high rate is often a script that starts short-lived commands.",
  shape: "lines",
  sources: ["created"],
  rows: (lines) => single(lines("created"), "created", "started", "teal"),
  absent: "This host does not count started processes.",
};

const STATES: Panel = {
  id: "states",
  title: "Running and blocked",
  unit: "count",
  about:
    "Processes that run now, and processes stuck in the kernel, nearly always waiting for a disk. Blocked ones count into the load.",
  shape: "lines",
  sources: ["processes"],
  rows: (lines) =>
    named(
      lines("processes").filter(({ attributes }) =>
        ["running", "blocked"].includes(attributes[PROCESS_STATE] ?? ""),
      ),
      PROCESS_STATE,
      [
        ["running", "running", "green"],
        ["blocked", "blocked", "red"],
      ],
    ),
  absent: "This host reports no states of processes.",
};

export const PROCESS_PANELS: readonly Panel[] = [TASKS, STATES];
