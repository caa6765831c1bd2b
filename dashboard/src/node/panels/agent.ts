/** Charts of the agent's own cost and health. */
import type { Line } from "../../lib/lines";
import { peak } from "../../lib/stack";
import { each, type Panel, single } from "../panel";
import { REASON, SAMPLER } from "../sources";

/** The agent's default budget: share of one core, and bytes. */
const BUDGET_CPU = 0.005;

const BUDGET_MEMORY_BYTES = 25 * 1024 * 1024;

const AGENT_CPU: Panel = {
  id: "agentcpu",
  title: "Agent's CPU",
  unit: "ratio",
  about:
    "What measuring costs, as a share of one core. Above its budget the agent slows its dearest samplers.",
  shape: "lines",
  sources: ["agentCpu"],
  rows: (lines) => single(lines("agentCpu"), "cpu", "of one core", "teal"),
  reference: () => ({ value: BUDGET_CPU, label: "default budget 0.5 %" }),
  absent: "The agent does not report its own CPU time.",
};

const AGENT_MEMORY: Panel = {
  id: "agentmemory",
  title: "Agent's memory",
  unit: "bytes",
  about: "Memory the agent holds now (resident set). It must stay flat for as long as the agent runs.",
  shape: "lines",
  sources: ["agentMemory"],
  rows: (lines) => single(lines("agentMemory"), "memory", "resident", "blue"),
  reference: () => ({ value: BUDGET_MEMORY_BYTES, label: "default budget 25 MiB" }),
  absent: "The agent does not report its own memory.",
};

const AGENT_JITTER: Panel = {
  id: "agentjitter",
  title: "Sampling jitter",
  unit: "seconds",
  about: "How late sampling began after its appointed time. Rises when the host is starved of CPU.",
  shape: "lines",
  sources: ["agentJitter"],
  rows: (lines) => single(lines("agentJitter"), "jitter", "late by", "violet"),
  absent: "The agent does not report its jitter.",
};

const SAMPLERS: Panel = {
  id: "samplers",
  title: "Time of each sampler",
  unit: "seconds",
  about: "How long each kind of measurement took. A sampler that hangs shows here before anything else.",
  shape: "lines",
  sources: ["samplerDuration"],
  rows: (lines) => each(lines("samplerDuration"), SAMPLER),
  absent: "The agent does not report its samplers' times.",
};

const DELIVERY: Panel = {
  id: "delivery",
  title: "Samples on their way",
  unit: "count",
  about:
    "Samples measured but not yet stored. Grows while the collector or its store is away, and drains after.",
  shape: "lines",
  sources: ["samplesInFlight"],
  rows: (lines) => single(lines("samplesInFlight"), "inflight", "in flight", "amber"),
  absent: "The agent does not report what it has in flight.",
};

const failure = ({ attributes, values }: Line): Line => ({
  values,
  attributes: { what: `${attributes[SAMPLER] ?? "?"} failed: ${attributes[REASON] ?? "?"}` },
});

const loss = ({ attributes, values }: Line): Line => ({
  values,
  attributes: { what: `lost: ${attributes[REASON] ?? "?"}` },
});

/** There is a counter for each way to fail; only those that moved are worth a row. */
const happened = (line: Line): boolean => peak([line.values]) > 0;

const LOSSES: Panel = {
  id: "losses",
  title: "Failed reads and lost samples",
  unit: "ops/s",
  about: "Measurements that failed and samples given up, a second, by reason. Only what happened has a line.",
  shape: "lines",
  sources: ["samplerFailures", "samplesShed"],
  rows: (lines) =>
    each(
      [...lines("samplerFailures").map(failure), ...lines("samplesShed").map(loss)].filter(happened),
      "what",
    ),
  absent: "Nothing failed and nothing was lost in this range.",
};

export const AGENT_PANELS: readonly Panel[] = [
  AGENT_CPU,
  AGENT_MEMORY,
  AGENT_JITTER,
  SAMPLERS,
  DELIVERY,
  LOSSES,
];
