//! Measures the judge's error rates: rollouts that change nothing, and rollouts that do harm.

#[path = "../tests/calibration/mod.rs"]
mod calibration;

use std::io::Write;

use calibration::noise::SHAPES;
use calibration::rollouts::{Design, Setting, run};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    let runs: u64 = std::env::args().nth(1).map_or(Ok(1000), |x| x.parse())?;
    for design in [Design::Controls, Design::Prediction, Design::Alone] {
        for noise in [0.02, 0.05, 0.15] {
            for shape in SHAPES {
                let s = run(&Setting::new(shape, noise, design, 0.0), runs, 2);
                write!(out, "{design:?} {noise} {:18} AA harm {:.2} pass {:.1} ({}) gain {:.2} cov {:.1} {:.1} |", shape.name(), 100.0*s.harm, 100.0*s.pass, s.windows_to_pass, 100.0*s.false_gain, 100.0*s.covered_always, 100.0*s.covered_last)?;
                for harm in [0.05, 0.1, 0.2] {
                    let s = run(&Setting::new(shape, noise, design, harm), runs / 5, 2);
                    write!(out, " {:.1} ({}) c{:.0}", 100.0*s.harm, s.windows_to_harm, 100.0*s.covered_always)?;
                }
                writeln!(out)?;
            }
        }
    }
    Ok(())
}
