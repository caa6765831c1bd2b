//! What the agent's own control group uses, from the unified hierarchy (Documentation/admin-guide/cgroup-v2.rst).
//!
//! Only where version 2 manages resources: a host of version 1, also one with the unified hierarchy beside it, has no such files, and the root group is the
//! whole host, which other samplers show.

use std::path::{Path, PathBuf};

use flyball_proto::series::{Kind, Scale};

use super::counters::Counters;
use super::source::Source;
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler, parse};

const CPU_TIME: Metric = Metric {
    name: "flyball.cgroup.cpu.time",
    unit: "s",
    kind: Kind::Counter,
    scale: Scale::decimal(6),
    attributes: &["cpu.mode"],
    description: "CPU time of the agent's control group by mode: user, system.",
};
const THROTTLED: Metric = Metric {
    name: "flyball.cgroup.cpu.throttled_time",
    unit: "s",
    kind: Kind::Counter,
    scale: Scale::decimal(6),
    attributes: &[],
    description: "Time for which the control group was kept from running by its CPU limit.",
};
const MEMORY: Metric = Metric {
    name: "flyball.cgroup.memory.usage",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::UNIT,
    attributes: &[],
    description: "Memory charged to the control group, page cache included.",
};
const MEMORY_LIMIT: Metric = Metric {
    name: "flyball.cgroup.memory.limit",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::UNIT,
    attributes: &[],
    description: "Most memory that the control group may have; unknown without a limit.",
};
const MEMORY_EVENTS: Metric = Metric {
    name: "flyball.cgroup.memory.events",
    unit: "{event}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &["flyball.cgroup.memory.event"],
    description: "Times that the control group met a memory limit: high, max, oom, oom_kill.",
};
const TASKS: Metric = Metric {
    name: "flyball.cgroup.task.count",
    unit: "{task}",
    kind: Kind::Gauge,
    scale: Scale::UNIT,
    attributes: &[],
    description: "Processes and threads in the control group.",
};

const CPU_KEYS: [&[u8]; 3] = [b"user_usec", b"system_usec", b"throttled_usec"];
const EVENT_KEYS: [&[u8]; 4] = [b"high", b"max", b"oom", b"oom_kill"];
const EVENTS: [&str; 4] = ["high", "max", "oom", "oom_kill"];

/// Reads the files of the agent's own group.
#[derive(Debug)]
pub(super) struct Cgroup {
    membership: Source,
    hierarchy: PathBuf,
    group: Option<Group>,
}

/// The group that the agent was in when it was last looked up.
#[derive(Debug)]
struct Group {
    cpu: Source,
    events: Option<Source>,
    /// Files of one number.
    numbers: Vec<(Source, Metric, Option<Handle>)>,
    cpu_time: Option<Counters<2>>,
    throttled: Option<Counters<1>>,
    event_counts: Option<Counters<4>>,
}

impl Cgroup {
    pub(super) fn new(paths: &HostPaths) -> Self {
        Self {
            membership: Source::new(paths.proc.join("self/cgroup")),
            hierarchy: paths.sys.join("fs/cgroup"),
            group: None,
        }
    }

    /// Finds the agent's group. A service is not moved while it runs, so this is done once.
    fn find(&mut self) -> Result<Group, SampleError> {
        let controllers = self.hierarchy.join("cgroup.controllers");
        if !controllers.exists() {
            return Err(SampleError::Unsupported(controllers.display().to_string()));
        }
        let text = self.membership.read()?;
        let path = parse::lines(text).find_map(|line| line.strip_prefix(b"0::/"));
        let path = path.and_then(|path| std::str::from_utf8(path).ok());
        let Some(path) = path.filter(|path| !path.split('/').any(|part| part == "..")) else {
            return Err(SampleError::Unsupported("a control group of version 2".to_owned()));
        };
        let directory = self.hierarchy.join(path);
        // Every group but the root has it, also the root of a container's namespace.
        if !directory.join("cgroup.events").exists() {
            return Err(SampleError::Unsupported("a control group other than the root".to_owned()));
        }
        Ok(Group::new(&directory))
    }
}

impl Sampler for Cgroup {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[CPU_TIME, THROTTLED, MEMORY, MEMORY_LIMIT, MEMORY_EVENTS, TASKS]
    }

    fn cost_rank(&self) -> u8 {
        25
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        if self.group.is_none() {
            self.group = Some(self.find()?);
        }
        self.group.as_mut().expect("found above").sample(readings)
    }
}

impl Group {
    fn new(directory: &Path) -> Self {
        let source =
            |file| Some(directory.join(file)).filter(|path| path.exists()).map(Source::new);
        let number = |(file, metric)| Some((source(file)?, metric, None));
        let numbers =
            [("memory.current", MEMORY), ("memory.max", MEMORY_LIMIT), ("pids.current", TASKS)];
        Self {
            cpu: Source::new(directory.join("cpu.stat")),
            events: source("memory.events"),
            numbers: numbers.into_iter().filter_map(number).collect(),
            cpu_time: None,
            throttled: None,
            event_counts: None,
        }
    }

    /// Controllers may be off for the group: CPU times are always there, all else is published as far as it is.
    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let [user, system, throttled] = parse::keyed(self.cpu.read()?, &CPU_KEYS);
        let (Some(user), Some(system)) = (user, system) else {
            return Err(self.cpu.garbled("no user_usec and system_usec"));
        };
        let cpu_time = self.cpu_time.get_or_insert_with(|| {
            let mode = |mode| readings.define(&CPU_TIME, &[("cpu.mode", mode)]);
            Counters::new(["user", "system"].map(mode), false)
        });
        cpu_time.set([Some(user), Some(system)], readings);
        if let Some(microseconds) = throttled {
            let define = || Counters::new([readings.define(&THROTTLED, &[])], false);
            let counter = self.throttled.get_or_insert_with(define);
            counter.set([Some(microseconds)], readings);
        }
        if let Some(Ok(text)) = self.events.as_mut().map(Source::read) {
            let counts = parse::keyed(text, &EVENT_KEYS);
            let define = || {
                let event = |event| {
                    readings.define(&MEMORY_EVENTS, &[("flyball.cgroup.memory.event", event)])
                };
                Counters::new(EVENTS.map(event), false)
            };
            self.event_counts.get_or_insert_with(define).set(counts, readings);
        }
        for (file, metric, handle) in &mut self.numbers {
            // `max` is no number: without a limit the limit is unknown.
            let value = file.read().ok().and_then(|text| parse::integer(text.trim_ascii()));
            if let Some(value) = value {
                let handle = *handle.get_or_insert_with(|| readings.define(metric, &[]));
                readings.set(handle, value);
            }
        }
        Ok(())
    }
}
