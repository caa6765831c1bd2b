//! Processors, load, uptime and memory from sysinfo.

use sysinfo::{MemoryRefreshKind, System};

use super::super::{Handle, Metric, Readings, SampleError, Sampler, cpu, load, memory};
use super::failed;

/// Utilization and number of processors.
#[derive(Debug, Default)]
pub(in super::super) struct Cpu {
    system: Option<System>,
    series: Option<[Handle; 2]>,
}

/// Load averages and uptime.
#[derive(Debug, Default)]
pub(in super::super) struct Load {
    series: Option<load::Series>,
}

/// Memory and swap space.
#[derive(Debug, Default)]
pub(in super::super) struct Memory {
    system: Option<System>,
    series: Option<memory::Series>,
}

impl Sampler for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[cpu::UTILIZATION, cpu::COUNT]
    }

    fn cost_rank(&self) -> u8 {
        50
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let first = self.system.is_none();
        let system = existing(&mut self.system)?;
        system.refresh_cpu_usage();
        let [idle, count] = *self.series.get_or_insert_with(|| {
            let idle = readings.define(&cpu::UTILIZATION, &[("cpu.mode", "idle")]);
            [idle, readings.define(&cpu::COUNT, &[])]
        });
        readings.set(count, system.cpus().len() as i64);
        if !first {
            readings.set_value(idle, 1.0 - f64::from(system.global_cpu_usage()) / 100.0);
        }
        Ok(())
    }
}

impl Sampler for Load {
    fn name(&self) -> &'static str {
        "load"
    }

    fn metrics(&self) -> &'static [Metric] {
        load::METRICS
    }

    fn cost_rank(&self) -> u8 {
        10
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let load = System::load_average().map_err(failed)?;
        let uptime = System::uptime().map_err(failed)?;
        let averages = [load.one, load.five, load.fifteen];
        let series = self.series.get_or_insert_with(|| load::Series::define(readings));
        let hundredths = averages.map(|average| (average * 100.0).round() as i64);
        series.set(hundredths, uptime as i64 * 100, readings);
        Ok(())
    }
}

impl Sampler for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn metrics(&self) -> &'static [Metric] {
        memory::METRICS
    }

    fn cost_rank(&self) -> u8 {
        20
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let system = existing(&mut self.system)?;
        system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram().with_swap());
        let kib = |bytes: u64| (bytes / 1024) as i64;
        if system.total_memory() == 0 {
            return Err(failed(sysinfo::Error::Unsupported));
        }
        let usage = memory::Usage {
            total: kib(system.total_memory()),
            free: kib(system.free_memory()),
            available: Some(kib(system.available_memory())),
            cached: None,
            buffers: None,
            swap_total: Some(kib(system.total_swap())),
            swap_free: Some(kib(system.free_swap())),
        };
        let define = || memory::Series::define(&["used", "free"], readings);
        self.series.get_or_insert_with(define).set(&usage, readings);
        Ok(())
    }
}

fn existing(system: &mut Option<System>) -> Result<&mut System, SampleError> {
    if system.is_none() {
        *system = Some(System::new().map_err(failed)?);
    }
    Ok(system.as_mut().expect("made above"))
}
