/** What the node page asks for: one Source for each question, named once and shared by its charts. */
import type { Source } from "../lib/lines";

const gauge = (metric: string, by: readonly string[] = [], filter?: Source["filter"]): Source =>
  filter ? { metric, agg: "avg", by, filter } : { metric, agg: "avg", by };
const counter = (metric: string, by: readonly string[] = [], filter?: Source["filter"]): Source =>
  filter ? { metric, agg: "rate", by, filter } : { metric, agg: "rate", by };

export const DEVICE = "system.device";
export const DISK_DIRECTION = "disk.io.direction";
export const INTERFACE = "network.interface.name";
export const NETWORK_DIRECTION = "network.io.direction";
export const CORE = "cpu.logical_number";
export const MODE = "cpu.mode";
export const MEMORY_STATE = "system.memory.state";
export const MOUNT = "system.filesystem.mountpoint";
export const FILESYSTEM = "system.filesystem.type";
export const FILESYSTEM_STATE = "system.filesystem.state";
export const RESOURCE = "flyball.pressure.resource";
export const PRESSURE_KIND = "flyball.pressure.kind";
export const FAULT = "system.paging.fault.type";
export const PAGING_STATE = "system.paging.state";
export const PAGING_DIRECTION = "system.paging.direction";
export const SAMPLER = "flyball.sampler";
export const REASON = "flyball.reason";
export const PROCESS_STATE = "process.state";
export const PID = "process.pid";
export const EXECUTABLE = "process.executable.name";

/** In the order in which the page shows them, so that what is on top arrives first. */
export const SOURCES = {
  cpu: gauge("system.cpu.utilization", [MODE]),
  coreIdle: counter("system.cpu.time", [CORE], { [MODE]: "idle" }),
  load1: gauge("system.cpu.load_average.1m"),
  load5: gauge("system.cpu.load_average.5m"),
  load15: gauge("system.cpu.load_average.15m"),
  memory: gauge("system.memory.usage", [MEMORY_STATE]),
  memoryLimit: gauge("system.memory.limit"),
  paging: gauge("system.paging.usage", [PAGING_STATE]),
  faults: counter("system.paging.faults", [FAULT]),
  swapping: counter("system.paging.operations", [PAGING_DIRECTION]),
  pressure: counter("flyball.pressure.time", [RESOURCE, PRESSURE_KIND]),
  diskBytes: counter("system.disk.io", [DEVICE, DISK_DIRECTION]),
  diskOps: counter("system.disk.operations", [DEVICE, DISK_DIRECTION]),
  diskBusy: counter("system.disk.io_time", [DEVICE]),
  diskTime: counter("system.disk.operation_time", [DEVICE, DISK_DIRECTION]),
  netBytes: counter("system.network.io", [INTERFACE, NETWORK_DIRECTION]),
  netPackets: counter("system.network.packet.count", [INTERFACE, NETWORK_DIRECTION]),
  netErrors: counter("system.network.errors", [INTERFACE, NETWORK_DIRECTION]),
  netDropped: counter("system.network.packet.dropped", [INTERFACE, NETWORK_DIRECTION]),
  filesystems: gauge("system.filesystem.usage", [DEVICE, MOUNT, FILESYSTEM, FILESYSTEM_STATE]),
  processes: gauge("system.process.count", [PROCESS_STATE]),
  created: counter("system.process.created"),
  agentCpu: gauge("flyball.agent.cpu.utilization"),
  agentMemory: gauge("flyball.agent.memory.usage"),
  agentJitter: gauge("flyball.agent.sampling.jitter"),
  samplerDuration: gauge("flyball.agent.sampler.duration", [SAMPLER]),
  samplerFailures: counter("flyball.agent.sampler.failures", [SAMPLER, REASON]),
  samplesInFlight: gauge("flyball.agent.samples.in_flight"),
  samplesShed: counter("flyball.agent.samples.shed", [REASON]),
} as const satisfies Record<string, Source>;

export type SourceName = keyof typeof SOURCES;

/** Series of single processes come and go too fast for charts; the table asks for these itself. */
export const PROCESS_CPU = gauge("process.cpu.utilization", [PID, EXECUTABLE]);
export const PROCESS_MEMORY = gauge("process.memory.usage", [PID, EXECUTABLE]);
