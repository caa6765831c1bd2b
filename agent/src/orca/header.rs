//! The header `endpoint-load-metrics`: `TEXT key=value, ...` or `JSON {...}` (cncf/xds, native HTTP binding of ORCA).
//!
//! Keys of maps are `named_metrics.KEY`, `utilization.KEY` and `request_cost.KEY` in TEXT. What is not known is passed over, as gRPC and Envoy do; a number that is not
//! finite or is negative makes the whole word void, because the rest of it is not to be trusted either.

use serde::Deserialize;

/// What counts of a backend's word.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Load {
    /// Share of the application's own capacity.
    pub(crate) application: f64,
    /// Share of the CPU.
    pub(crate) cpu: f64,
    /// Share of the memory.
    pub(crate) memory: f64,
}

impl Load {
    /// Reads the header. None when it is not one, or says nothing of utilisation.
    pub(crate) fn read(header: &str) -> Option<Self> {
        let (format, rest) = header.trim().split_once(char::is_whitespace)?;
        match format {
            "TEXT" => Self::text(rest),
            "JSON" => Self::json(rest),
            _ => None,
        }
    }

    fn text(pairs: &str) -> Option<Self> {
        let mut load = Self::default();
        for pair in pairs.split(',') {
            let (key, value) = pair.split_once('=')?;
            let value: f64 = value.trim().parse().ok()?;
            match key.trim() {
                "application_utilization" => load.application = value,
                "cpu_utilization" => load.cpu = value,
                "mem_utilization" => load.memory = value,
                _ => {}
            }
        }
        load.checked()
    }

    fn json(text: &str) -> Option<Self> {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        #[expect(clippy::struct_field_names, reason = "as the format names them")]
        struct Report {
            #[serde(alias = "applicationUtilization")]
            application_utilization: f64,
            #[serde(alias = "cpuUtilization")]
            cpu_utilization: f64,
            #[serde(alias = "memUtilization")]
            mem_utilization: f64,
        }
        // An array would be taken for the fields in order.
        let text = text.trim_start();
        let report: Report = serde_json::from_str(text.starts_with('{').then_some(text)?).ok()?;
        let load = Self {
            application: report.application_utilization,
            cpu: report.cpu_utilization,
            memory: report.mem_utilization,
        };
        load.checked()
    }

    /// Itself, if its numbers can be utilisations.
    pub(crate) fn checked(self) -> Option<Self> {
        let is_right = |share: f64| share.is_finite() && share >= 0.0;
        [self.application, self.cpu, self.memory].into_iter().all(is_right).then_some(self)
    }

    /// The utilisation, cut at 1; none when the backend says 0 of everything, which is how nothing is said.
    pub(crate) fn utilization(self) -> Option<f64> {
        let share =
            if self.application > 0.0 { self.application } else { self.cpu.max(self.memory) };
        (share > 0.0).then_some(share.min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utilization(header: &str) -> Option<f64> {
        Load::read(header)?.utilization()
    }

    #[test]
    fn both_formats_say_the_same() {
        let text = "TEXT cpu_utilization=0.3,mem_utilization=0.8, rps_fractional=10.0,eps=1,named_metrics.queue=3";
        let json = r#"JSON {"cpu_utilization": 0.3, "mem_utilization": 0.8, "rps_fractional": 10.0, "named_metrics": {"queue": 3}}"#;
        assert_eq!((utilization(text), utilization(json)), (Some(0.8), Some(0.8)));
        let text = "TEXT cpu_utilization=0.9,application_utilization=0.4";
        let json = r#"JSON {"cpuUtilization": 0.9, "applicationUtilization": 0.4}"#;
        assert_eq!((utilization(text), utilization(json)), (Some(0.4), Some(0.4)));
        assert_eq!(utilization("TEXT application_utilization=1.7"), Some(1.0), "overloaded");
    }

    #[test]
    fn what_is_no_utilisation_is_void() {
        for wrong in [
            "",
            "TEXT",
            "TEXT x",
            "TEXT cpu_utilization=x",
            "TEXT cpu_utilization=NaN",
            "TEXT cpu_utilization=0.3,mem_utilization=-1",
            "TEXT cpu_utilization=inf",
            "JSON [1]",
            "JSON {\"cpu_utilization\": \"a\"}",
            "BIN CgA=",
            "TEXT rps_fractional=3",
            "JSON {}",
        ] {
            assert_eq!(utilization(wrong), None, "{wrong}");
        }
    }
}
