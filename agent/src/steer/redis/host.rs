//! Memory where a server runs: that of the host, or of the control groups that its process is in.
//!
//! A group charges the page cache as well; what of it could be dropped at once is in `inactive_file` and counts as available, as `MemAvailable` of the host does it.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use crate::steer::actuator::Memory;

/// Where the system shows itself.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) proc: PathBuf,
    pub(crate) sys: PathBuf,
}

impl Host {
    /// Memory for the process `pid`, where that is a process of this host; else for any.
    pub(crate) fn memory(&self, pid: Option<u32>) -> Option<Memory> {
        let info = read_to_string(self.proc.join("meminfo")).ok()?;
        let field = |name| Some(numbers(&info, name)?.saturating_mul(1024));
        let memory =
            Memory { total_bytes: field("MemTotal:")?, available_bytes: field("MemAvailable:")? };
        let groups = pid.and_then(|pid| self.groups_of(pid)).unwrap_or_default();
        Some(groups.iter().filter_map(|group| limit(group)).fold(memory, smaller))
    }

    /// The control group of a server's process, and those above it.
    fn groups_of(&self, pid: u32) -> Option<Vec<PathBuf>> {
        let process = self.proc.join(pid.to_string());
        let name = read_to_string(process.join("comm")).ok()?;
        // A number from another namespace may be that of anything here.
        if !["redis", "valkey", "keydb"].iter().any(|known| name.starts_with(known)) {
            return None;
        }
        let membership = read_to_string(process.join("cgroup")).ok()?;
        let group = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
        if group.split('/').any(|part| part == "..") {
            return None;
        }
        let root = self.sys.join("fs/cgroup");
        let path = root.join(group);
        let above = path.ancestors().take_while(|path| path.starts_with(&root));
        Some(above.map(Path::to_owned).collect())
    }
}

/// What a group allows; nothing when it has no limit.
fn limit(group: &Path) -> Option<Memory> {
    let number = |name| read_to_string(group.join(name)).ok()?.trim().parse::<u64>().ok();
    let total_bytes = number("memory.max")?;
    let used = number("memory.current")?;
    let stat = read_to_string(group.join("memory.stat")).unwrap_or_default();
    let droppable = numbers(&stat, "inactive_file").unwrap_or(0);
    let available_bytes = total_bytes.saturating_sub(used.saturating_sub(droppable));
    Some(Memory { total_bytes, available_bytes })
}

fn smaller(a: Memory, b: Memory) -> Memory {
    Memory {
        total_bytes: a.total_bytes.min(b.total_bytes),
        available_bytes: a.available_bytes.min(b.available_bytes),
    }
}

/// The number behind a name at the beginning of a line.
fn numbers(text: &str, name: &str) -> Option<u64> {
    let mut words = text.lines().map(str::split_ascii_whitespace);
    words.find_map(|mut line| (line.next() == Some(name)).then(|| line.next()?.parse().ok())?)
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, write};

    use super::*;

    fn host(dir: &Path) -> Host {
        let host = Host { proc: dir.join("proc"), sys: dir.join("sys") };
        let group = host.sys.join("fs/cgroup/system.slice/redis.service");
        create_dir_all(host.proc.join("7")).unwrap();
        create_dir_all(&group).unwrap();
        let info = "MemTotal:   8000 kB\nMemFree:  1 kB\nMemAvailable:    5000 kB\n";
        write(host.proc.join("meminfo"), info).unwrap();
        write(host.proc.join("7/comm"), "redis-server\n").unwrap();
        write(host.proc.join("7/cgroup"), "0::/system.slice/redis.service\n").unwrap();
        write(group.join("memory.max"), "2048000\n").unwrap();
        write(group.join("memory.current"), "1024000\n").unwrap();
        write(group.join("memory.stat"), "anon 9\ninactive_file 512000\n").unwrap();
        host
    }

    #[test]
    fn the_smallest_limit_counts() {
        let dir = tempfile::tempdir().unwrap();
        let host = host(dir.path());
        let whole = Memory { total_bytes: 8_192_000, available_bytes: 5_120_000 };
        let group = Memory { total_bytes: 2_048_000, available_bytes: 1_536_000 };
        assert_eq!(host.memory(None), Some(whole));
        assert_eq!(host.memory(Some(8)), Some(whole), "no such process");
        assert_eq!(host.memory(Some(7)), Some(group));
        let slice = host.sys.join("fs/cgroup/system.slice");
        write(slice.join("memory.max"), "1000000").unwrap();
        write(slice.join("memory.current"), "2000000").unwrap();
        let full = Memory { total_bytes: 1_000_000, available_bytes: 0 };
        assert_eq!(host.memory(Some(7)), Some(full), "a group above is full");
        write(host.proc.join("7/comm"), "bash\n").unwrap();
        assert_eq!(host.memory(Some(7)), Some(whole), "that is another process");
    }

    #[test]
    fn without_a_limit_it_is_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let host = host(dir.path());
        let group = host.sys.join("fs/cgroup/system.slice/redis.service");
        write(group.join("memory.max"), "max\n").unwrap();
        assert_eq!(host.memory(Some(7)).unwrap().total_bytes, 8_192_000);
        std::fs::remove_file(host.proc.join("meminfo")).unwrap();
        assert_eq!(host.memory(None), None);
    }
}
