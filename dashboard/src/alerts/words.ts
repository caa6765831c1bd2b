/** Alerts and reasons in the words of somebody who has never heard of them. */

interface Words {
  title: string;
  /** What it means for whoever reads charts. */
  meaning: string;
}

const ALERTS: Readonly<Record<string, Words>> = {
  "accounting.gap": {
    title: "Samples unaccounted for",
    meaning:
      "What the agent produced is not the sum of what was stored, waits and was given up. This should never happen.",
  },
  "samples.shed": {
    title: "Samples lost",
    meaning: "The agent gave up samples: charts have gaps where they would be.",
  },
  "spool.corrupt": {
    title: "Spool damaged",
    meaning: "Part of what waited on the agent's disk could not be read back.",
  },
  "spool.filling": {
    title: "Spool almost full",
    meaning:
      "The agent cannot send as fast as it measures. When its spool is full it gives up the oldest samples.",
  },
  "spool.unwritable": {
    title: "Spool cannot be written",
    meaning: "Samples wait in the agent's memory only. They are lost if it ends before it can send them.",
  },
  "clock.step": {
    title: "Clock jumped",
    meaning: "Nothing is lost, but times around the jump are not the real ones.",
  },
  "series.overflow": {
    title: "Too many series on a node",
    meaning: "Samples of the series over the cap are kept as sums: totals are right, details are not there.",
  },
  "catalog.full": {
    title: "Collector is full",
    meaning: "There are as many series as the collector may have. New ones are kept as sums.",
  },
  "series.refused": {
    title: "Series refused by ClickHouse",
    meaning: "ClickHouse did not accept what some series are. Their samples are not stored.",
  },
};

export function alertWords(name: string): Words {
  return ALERTS[name] ?? { title: name, meaning: "" };
}

const REASONS: Readonly<Record<string, string>> = {
  full: "the spool was full",
  thinned: "details dropped so that the rest fits",
  memory: "the agent was at its memory limit",
  refused: "the collector refused them",
  rejected: "stored without them",
  corrupt: "could not be read back from disk",
};

/** Why an agent gave up samples. */
export function reasonWords(reason: string): string {
  return REASONS[reason] ?? reason;
}
