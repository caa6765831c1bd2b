/** The busiest processes by CPU and by memory, and whatever else belongs beside them. */
import type { ComponentChildren } from "preact";
import { bytes, percent } from "../lib/format";
import type { NodeController } from "./controller";
import type { Process } from "./processes";

interface Props {
  controller: NodeController;
  memoryBytes: number | null;
  children: ComponentChildren;
}

export function ProcessTables({ controller, memoryBytes, children }: Props) {
  const top = controller.processes.top.value;
  const over = controller.isLive ? "now" : "mean of the range";
  return (
    <div class="grid">
      <ProcessTable
        title="By CPU"
        about={`Share of one core, ${over}. More than 100 % is more than one core.`}
        processes={top?.byCpu}
        scale={1}
        text={percent}
      />
      <ProcessTable
        title="By memory"
        about={`Memory held (resident), ${over}. Pages shared between processes count in each.`}
        processes={top?.byMemory}
        scale={memoryBytes ?? 0}
        text={bytes}
      />
      {children}
    </div>
  );
}

interface TableProps {
  title: string;
  about: string;
  processes: readonly Process[] | undefined;
  /** Value of a full bar; 0 scales to the largest. */
  scale: number;
  text(value: number): string;
}

function ProcessTable({ title, about, processes, scale, text }: TableProps) {
  const full = scale || processes?.[0]?.value || 1;
  return (
    <figure class="panel processes">
      <figcaption>
        <h3>{title}</h3>
        <p>{about}</p>
      </figcaption>
      <table>
        <thead>
          <tr>
            <th scope="col">Process</th>
            <th scope="col" class="num">
              PID
            </th>
            <th scope="col" class="num" colSpan={2}>
              {title === "By CPU" ? "CPU" : "Memory"}
            </th>
          </tr>
        </thead>
        <tbody>
          {(processes ?? []).map(({ pid, name, value }) => (
            <tr key={pid + name}>
              <td class="process-name" title={name}>
                {name}
              </td>
              <td class="num muted">{pid}</td>
              <td class="bar">
                <span class="meter">
                  <i style={{ transform: `scaleX(${Math.min(1, value / full)})` }} />
                </span>
              </td>
              <td class="num">{text(value)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {(!processes || processes.length === 0) && <p class="waiting">Nothing reported yet.</p>}
    </figure>
  );
}
