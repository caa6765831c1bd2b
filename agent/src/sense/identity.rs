//! Who the host is, by OpenTelemetry's resource attributes: read once at start with sysinfo, which is dropped again.

use std::collections::BTreeSet;
use std::net::IpAddr;

use flyball_proto::v1::Host;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, Networks, RefreshKind, System};

use super::HostPaths;

/// Most addresses that a collector takes.
const MAX_ADDRESSES: usize = 64;

/// Reads the host's identity; what cannot be found stays empty.
pub fn host_identity(paths: &HostPaths) -> Host {
    let wanted = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(wanted).ok();
    let cpus = system.as_ref().map_or(&[][..], System::cpus);
    Host {
        name: System::host_name().unwrap_or_default(),
        id: machine_id(paths),
        arch: architecture(&System::cpu_arch()).to_owned(),
        os_type: std::env::consts::OS.to_owned(),
        os_description: System::long_os_version().unwrap_or_default(),
        kernel: System::kernel_version().unwrap_or_default(),
        cpus: cpus.len() as u32,
        memory_bytes: system.as_ref().map_or(0, System::total_memory),
        boot_time_ms: System::boot_time().map_or(0, |seconds| seconds as i64 * 1000),
        cpu_model: cpus.first().map_or_else(String::new, |cpu| cpu.brand().trim().to_owned()),
        addresses: addresses(&own_addresses()),
    }
}

/// Addresses of the interfaces of the agent's network namespace.
fn own_addresses() -> Vec<IpAddr> {
    let networks = Networks::new_with_refreshed_list().ok();
    let all = networks
        .iter()
        .flat_map(|networks| networks.values())
        .flat_map(sysinfo::NetworkData::ip_networks);
    all.map(|network| network.addr).collect()
}

/// Those by which other hosts may reach this one, in order, as text.
fn addresses(all: &[IpAddr]) -> Vec<String> {
    let is_reachable = |ip: &IpAddr| {
        let is_of_link = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || is_of_link)
    };
    let all: BTreeSet<IpAddr> = all.iter().map(IpAddr::to_canonical).filter(is_reachable).collect();
    all.iter().take(MAX_ADDRESSES).map(ToString::to_string).collect()
}

/// `host.id`: the machine id of systemd or D-Bus.
fn machine_id(paths: &HostPaths) -> String {
    ["etc/machine-id", "var/lib/dbus/machine-id"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(paths.root.join(file)).ok())
        .map(|id| id.trim().to_owned())
        .find(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .unwrap_or_default()
}

/// The conventions' names of architectures.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i586" | "i686" => "x86",
        "powerpc64" | "ppc64le" => "ppc64",
        arm if arm.starts_with("armv") => "arm32",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_an_identity() {
        let host = host_identity(&HostPaths::default());
        assert!(!host.name.is_empty());
        assert!(!host.kernel.is_empty());
        assert!(host.cpus > 0);
        assert!(host.memory_bytes > 1 << 20);
        assert!(host.boot_time_ms > 0);
        assert_eq!(host.os_type, std::env::consts::OS);
    }

    #[test]
    fn addresses_are_those_by_which_other_hosts_reach_this_one() {
        let all = ["127.0.0.1", "10.0.0.7", "169.254.1.1", "::1", "fe80::1", "::ffff:10.0.0.6"];
        let more = ["0.0.0.0", "224.0.0.1", "2001:db8::7", "10.0.0.7"];
        let parsed: Vec<IpAddr> =
            all.iter().chain(&more).map(|text| text.parse().unwrap()).collect();
        assert_eq!(addresses(&parsed), ["10.0.0.6", "10.0.0.7", "2001:db8::7"]);
        let many: Vec<_> = (0..100).map(|last| IpAddr::from([10, 0, 1, last])).collect();
        assert_eq!(addresses(&many).len(), MAX_ADDRESSES);
    }

    #[test]
    fn the_machine_id_is_32_hexadecimal_digits_or_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let paths = HostPaths { root: directory.path().into(), ..HostPaths::default() };
        assert_eq!(machine_id(&paths), "");
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        std::fs::write(directory.path().join("etc/machine-id"), "uninitialized\n").unwrap();
        assert_eq!(machine_id(&paths), "");
        let id = "0123456789abcdef0123456789abcdef";
        std::fs::write(directory.path().join("etc/machine-id"), format!("{id}\n")).unwrap();
        assert_eq!(machine_id(&paths), id);
    }
}
