//! Outcomes in plain words with their numbers, for operators.

use std::fmt;

use super::{BackendOutcome, Hold, LawOutcome, Push, Rule};

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewRequests { requests, needed } => {
                write!(f, "{requests} requests in the window, {needed} are needed")
            }
            Self::Stale { age_ms, limit_ms } => {
                write!(f, "its report is {age_ms} ms old, below {limit_ms} is needed")
            }
            Self::NoUtilization => f.write_str("its utilisation is not known"),
        }
    }
}

impl fmt::Display for BackendOutcome {
    /// These numbers, this rule, this result.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.id)?;
        if let (Some(utilization), Some(capacity)) = (self.utilization, self.capacity_per_second) {
            write!(f, "{:.1} requests/s at {utilization:.2} in use", self.requests_per_second)?;
            if self.error_ratio > 0.0 {
                write!(f, " with {:.1} % errors", self.error_ratio * 100.0)?;
            }
            write!(f, " make {capacity:.1} requests/s of capacity; ")?;
        }
        let change = (self.innovation.exp() - 1.0) * 100.0;
        let (below, above) = ((-self.gate).exp_m1() * 100.0, self.gate.exp_m1() * 100.0);
        match self.rule {
            Rule::First => f.write_str("first measured, believed")?,
            Rule::FastDown => {
                write!(f, "{change:+.0} % is beyond noise ({below:.0} %), believed at once")?;
            }
            Rule::Unconfirmed => {
                write!(f, "{change:+.0} % is beyond noise ({above:+.0} %), not yet confirmed")?;
            }
            Rule::ConfirmedUp => {
                write!(f, "{change:+.0} % is beyond noise ({above:+.0} %) again, believed")?;
            }
            Rule::Averaged => {
                write!(
                    f,
                    "{change:+.0} % is within noise ({below:.0} to {above:+.0} %), averaged"
                )?;
            }
            Rule::Failing => {
                write!(f, "{:.0} % of its requests fail, to the floor", self.error_ratio * 100.0)?;
            }
            Rule::Collapsed => {
                f.write_str("it is full and ends next to nothing beside its weight, to the floor")?;
            }
            Rule::Hanging => {
                f.write_str("its requests stay and next to none of its share end, to the floor")?;
            }
            Rule::Held(hold) => write!(f, "held: {hold}")?,
            Rule::Expired(hold) => {
                write!(f, "not measured for too long, moves to the median: {hold}")?;
            }
        }
        let step = self.step.exp_m1() * 100.0;
        match self.rule {
            Rule::Failing | Rule::Collapsed | Rule::Hanging | Rule::Held(_) => {}
            _ if self.step == 0.0 => f.write_str("; too little to move")?,
            _ => write!(f, "; moved by {step:+.0} %")?,
        }
        if self.ramp < 1.0 {
            write!(f, "; slow start gives it {:.0} %", self.ramp * 100.0)?;
        }
        if self.at_floor {
            f.write_str("; at the floor")?;
        }
        write!(f, "; weight {} (in force {})", self.weight, self.in_force)
    }
}

impl fmt::Display for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Due { backend, from, to } => {
                write!(f, "push: {backend} moved most, from {from:.0} to {to}")
            }
            Self::Unmoved => f.write_str("no push: no weight moved by 3 % and more than rounding"),
            Self::TooSoon { wait_ms } => {
                write!(f, "no push: the last one is too fresh, {wait_ms} ms to wait")
            }
            Self::Nothing => f.write_str("no push: nothing was ever measured"),
        }
    }
}

impl LawOutcome {
    /// Everything as lines for people: whether to push, then each backend.
    pub fn explain(&self) -> Vec<String> {
        let trim = match self.trim {
            trim if trim > 0.0 => format!(", latency counts with exponent {trim:.2}"),
            _ => String::new(),
        };
        let mut lines = vec![format!(
            "{}; {} of {} backends measured, {:.2} in use on average{trim}",
            self.push,
            self.valid,
            self.backends.len(),
            self.mean_utilization,
        )];
        lines.extend(self.backends.iter().map(ToString::to_string));
        lines
    }
}
