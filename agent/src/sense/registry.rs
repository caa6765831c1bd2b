//! The list of samplers: one line for each.

use std::time::Duration;

use super::{
    Backend, MemcachedServer, Sampler, SenseConfig, cgroup, cpu, disk, envoy, filesystem, haproxy,
    load, memcached, memory, network, orca, own, paging, portable, pressure, processes, redis,
    transport,
};
use crate::envoy::Balanced;
use crate::haproxy::Haproxy;
use crate::redis::Instance;

/// Names of the samplers of servers, which have settings also where there is no server.
pub const SERVERS: [&str; 5] =
    [envoy::NAME, haproxy::NAME, memcached::NAME, orca::NAME, redis::NAME];

/// The samplers of a back end, as configured. Those whose source the host does not have say so when they are asked.
pub fn samplers(backend: Backend, config: &SenseConfig) -> Vec<Box<dyn Sampler>> {
    let paths = &config.paths;
    match backend {
        Backend::Linux => vec![
            Box::new(cpu::Cpu::new(paths)),
            Box::new(load::Load::new(paths)),
            Box::new(memory::Memory::new(paths)),
            Box::new(paging::Paging::new(paths)),
            Box::new(disk::Disk::new(paths, &config.disk)),
            Box::new(network::Network::new(paths, &config.network)),
            Box::new(transport::Transport::new(paths)),
            Box::new(pressure::Pressure::new(paths)),
            Box::new(cgroup::Cgroup::new(paths)),
            Box::new(filesystem::Filesystem::new(paths, &config.filesystem)),
            Box::new(processes::Processes::new(paths, &config.processes)),
            Box::new(own::Own::new(paths)),
        ],
        Backend::Portable => vec![
            Box::new(portable::host::Cpu::default()),
            Box::new(portable::host::Load::default()),
            Box::new(portable::host::Memory::default()),
            Box::new(portable::traffic::Disk::default()),
            Box::new(portable::traffic::Network::new(paths, &config.network)),
            Box::new(portable::capacity::Filesystem::new(&config.filesystem)),
            Box::new(portable::processes::Processes::new(&config.processes)),
            Box::new(own::Own::new(paths)),
        ],
    }
}

/// The samplers of servers, as configured; none where there is no server. A reading waits for caches as long as `patience`, which is [`patience`](super::patience) of the
/// agent's interval.
pub fn servers(
    redis: &[Instance],
    memcached: &[MemcachedServer],
    haproxy: &[Haproxy],
    patience: Duration,
) -> Vec<Box<dyn Sampler>> {
    let mut samplers: Vec<Box<dyn Sampler>> = Vec::new();
    if !redis.is_empty() {
        samplers.push(Box::new(redis::Redis::new(redis, patience)));
    }
    if !memcached.is_empty() {
        samplers.push(Box::new(memcached::Memcached::new(memcached, patience)));
    }
    if !haproxy.is_empty() {
        samplers.push(Box::new(haproxy::Balancers::new(haproxy)));
    }
    samplers
}

/// The samplers of load balancers and of their backends, as configured; none where there are none.
pub fn balancers(balanced: &Balanced) -> Vec<Box<dyn Sampler>> {
    let mut samplers: Vec<Box<dyn Sampler>> = Vec::new();
    if !balanced.envoys.is_empty() {
        let envoys = envoy::Envoys::new(&balanced.envoys, balanced.cpu.clone());
        samplers.push(Box::new(envoys));
    }
    if !balanced.orca.is_empty() {
        let utilizations = balanced.utilizations.clone();
        samplers.push(Box::new(orca::Backends::new(&balanced.orca, utilizations)));
    }
    samplers
}
