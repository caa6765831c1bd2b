/** Charts of network interfaces. */
import type { Line } from "../../lib/lines";
import { mirrored, type Panel } from "../panel";
import { INTERFACE, NETWORK_DIRECTION } from "../sources";

const RECEIVE_TRANSMIT = ["receive", "transmit"] as const;

const NET_BYTES: Panel = {
  id: "net",
  title: "Network throughput",
  unit: "bytes/s",
  about: "Bytes received (above) and sent (below) a second by each interface.",
  shape: "mirror",
  directions: RECEIVE_TRANSMIT,
  sources: ["netBytes"],
  rows: (lines) => mirrored(lines("netBytes"), INTERFACE, NETWORK_DIRECTION, RECEIVE_TRANSMIT),
  absent: "This host reports no network interfaces.",
};

const NET_PACKETS: Panel = {
  id: "netpackets",
  title: "Network packets",
  unit: "packets/s",
  about:
    "Packets received (above) and sent (below) a second. Many small packets cost CPU where bytes do not.",
  shape: "mirror",
  directions: RECEIVE_TRANSMIT,
  sources: ["netPackets"],
  rows: (lines) => mirrored(lines("netPackets"), INTERFACE, NETWORK_DIRECTION, RECEIVE_TRANSMIT),
  absent: "This host reports no network interfaces.",
};

/** Errors and drops of both directions of each interface. */
function troubles(errors: readonly Line[], dropped: readonly Line[]): Line[] {
  return [...errors, ...dropped].map((line, at) => ({
    values: line.values,
    attributes: {
      what: `${line.attributes[INTERFACE] ?? "?"} ${at < errors.length ? "errors" : "drops"}`,
      [NETWORK_DIRECTION]: line.attributes[NETWORK_DIRECTION] ?? "",
    },
  }));
}

const NET_ERRORS: Panel = {
  id: "neterrors",
  title: "Network errors and drops",
  unit: "packets/s",
  about:
    "Packets that were broken or thrown away on receiving (above) and sending (below). A healthy host shows a flat zero.",
  shape: "mirror",
  directions: RECEIVE_TRANSMIT,
  sources: ["netErrors", "netDropped"],
  rows: (lines) =>
    mirrored(troubles(lines("netErrors"), lines("netDropped")), "what", NETWORK_DIRECTION, RECEIVE_TRANSMIT),
  absent: "This host reports no network errors.",
};

export const NETWORK_PANELS: readonly Panel[] = [NET_BYTES, NET_PACKETS, NET_ERRORS];
