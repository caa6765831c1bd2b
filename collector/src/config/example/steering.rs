//! Keys of the sections about suggestions and rollouts.

use super::Key;

/// `[suggest]`
pub(super) const SUGGEST: &[Key] = &[
    (
        "period_ms",
        "Time between two looks for something to suggest, in milliseconds. 0: only when asked.",
        "",
    ),
    (
        "min_gain",
        "Least gain in hit ratio; what counts is the lower end of the predicted interval.\nOf this and the next one the smaller counts.",
        "",
    ),
    ("min_miss_share", "Least gain as a share of the misses.", ""),
    ("max_loss", "Largest loss of hit ratio for which memory is given back.", ""),
    ("min_saved", "Share of its memory that a cache must give back at least.", ""),
    ("max_growth", "Largest factor by which a cache grows at once.", ""),
    ("host_reserve", "Share of a host's memory that stays free.", ""),
    (
        "max_report_age_ms",
        "A cache that was not heard of for so long is passed over, in milliseconds.",
        "",
    ),
    ("max_curve_age_ms", "A hit ratio curve that is older is not used, in milliseconds.", ""),
    ("window_ms", "Time over which the present hit ratio is taken, in milliseconds.", ""),
    ("hot_key_share", "Share of all requests from which on a key is hot.", ""),
    ("big_key_share", "Share of the memory from which on a key is big.", ""),
    (
        "auto_confirm",
        "Kinds of suggestions of advisors that are confirmed without a person: cache.size, cache.eviction_policy.\nThey are tried, judged and rolled back like any other, and the journal names auto_confirm as who confirmed.",
        "",
    ),
    ("auto_confirm_risk", "The highest risk of those: low, medium or high.", ""),
    (
        "auto_confirm_after",
        "So many of the kind must have been promoted at a target before, each confirmed by a person.",
        "",
    ),
    ("objective", "What weights of load balancers are for: utilisation, or latency.", ""),
    (
        "check_power",
        "Refuses a confirmation when noise would hide from the judge what it looks for.",
        "",
    ),
];

/// `[balance]`
pub(super) const BALANCE: &[Key] = &[(
    "window_ms",
    "Length of a window of the traffic of load balancers, in milliseconds; 1000 to 60000.",
    "",
)];

/// `[rollout.balancer]`
pub(super) const ROLLOUT_BALANCER: &[Key] = &[
    (
        "hold_ms",
        "How long each step at load balancers is held under hard stops, in milliseconds.",
        "",
    ),
    ("validate_min_ms", "Before this the judge's pass is not acted on, in milliseconds.", ""),
    ("validate_max_ms", "Longest time for the judge to decide, in milliseconds.", ""),
    (
        "largest_shift",
        "Largest share of a group's traffic that one push of standing control may move.",
        "",
    ),
    (
        "push_ms",
        "Least time between two pushes of standing control, in milliseconds; at least 1000.",
        "",
    ),
];

/// `[rollout]`
pub(super) const ROLLOUT: &[Key] = &[
    (
        "suggestion_life_ms",
        "Time after which a suggestion that nobody decided on expires, in milliseconds.\nWhat a rollout was confirmed under stays in force for it.",
        "",
    ),
    ("apply_ms", "Time that agents have to put a step into force, in milliseconds.", ""),
    ("hold_ms", "How long each step is held under hard stops, in milliseconds.", ""),
    ("validate_min_ms", "Before this the judge's pass is not acted on, in milliseconds.", ""),
    ("validate_max_ms", "Longest time for the judge to decide, in milliseconds.", ""),
    (
        "at_maximum",
        "What then happens: roll_back, or ask_person, which pauses until a person decides.",
        "",
    ),
    (
        "restore_ms",
        "Time that agents have to show that the old values are in force again, in milliseconds.",
        "",
    ),
    ("pause_ms", "Longest pause, in milliseconds.", ""),
    (
        "silent_ms",
        "An agent that was not heard for so long ends a rollout that touches its node, in milliseconds.",
        "",
    ),
    (
        "lease_ms",
        "An agent puts a change that is on trial back by itself when it was not renewed for so long, in milliseconds.",
        "",
    ),
    (
        "record_ms",
        "How often a verdict that says nothing new is written down, in milliseconds.",
        "",
    ),
    ("attempts", "Failed rollouts of a kind at a target before it is locked, 1 to 3.", ""),
    ("cool_down_ms", "Pause after the first failed one, in milliseconds.", ""),
    ("cool_down_factor", "Each further pause is so many times the one before.", ""),
    ("canary_share", "Share of like targets that get a change first; at least one does.", ""),
    ("largest_share", "Largest share of them that get it at once later.", ""),
    (
        "fleet_share",
        "Targets that may be on trial at once, of all changes, as a share of the nodes that are up; at least one may.",
        "",
    ),
    (
        "persist",
        "Write promoted values into the servers' own configuration too, where agents allow it.",
        "",
    ),
];

/// `[judge]`
pub(super) const JUDGE: &[Key] = &[
    (
        "window_ms",
        "Length of a window of measurements, in milliseconds; at least the agents' interval.",
        "",
    ),
    ("min_before", "Windows before a change without which nothing can pass.", ""),
    ("max_before", "Most windows before a change that are looked at.", ""),
    ("min_after", "Windows after a change before the first look.", ""),
    ("margin", "How much hit ratio may be lost beyond what was promised.", ""),
    (
        "latency_margin",
        "By how much the latency of load balancers may rise under a change, as a share.",
        "",
    ),
    ("error_margin", "How much larger the share of requests that fail may be under it.", ""),
    (
        "hold_windows",
        "Least windows in which a cache under a changed eviction policy may look worse than it is; more where keys stay for longer. 0: none.",
        "",
    ),
    ("hold_widen", "By which factor the margin is wider meanwhile.", ""),
    (
        "breach_ms",
        "Time for which a server may be unreachable, or use nearly all memory of its host, in milliseconds.",
        "",
    ),
    ("max_memory_share", "Share of its host's memory that a server's process may take.", ""),
];
