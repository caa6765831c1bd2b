//! The mount table, /proc/self/mountinfo (proc_pid_mountinfo(5)): which mounts are worth a series.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::super::config::FilesystemConfig;
use super::super::parse;

/// Without a capacity of their own: the kernel's windows, and images that are always full.
const SKIPPED: [&str; 46] = [
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fuse.gvfsd-fuse",
    "fuse.lxcfs",
    "fuse.portal",
    "fuse.snapfuse",
    "fuse.squashfuse",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nfsd",
    "nsfs",
    "pipefs",
    "proc",
    "procfs",
    "pstore",
    "ramfs",
    "resctrl",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sockfs",
    "spufs",
    "squashfs",
    "sysfs",
    "tracefs",
    "udf",
    "usbfs",
    "virtual",
    "vmblock",
    "vmware",
    "xenfs",
];
/// Answered by the kernel from memory: reading them cannot hang on a server. Any other type may.
const LOCAL: [&str; 22] = [
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "hfs", "hfsplus", "jfs", "minix",
    "msdos", "nilfs2", "ntfs3", "overlay", "reiserfs", "tmpfs", "ufs", "vfat", "xfs", "zfs",
    "zonefs",
];

/// A mount that is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// As the table names it, for example `/dev/vda1` or `server:/export`.
    pub(super) device: String,
    /// Where it is mounted, for people.
    pub(super) mountpoint: String,
    /// Where it is mounted, for the kernel, without the first slash.
    pub(super) path: PathBuf,
    /// Type, for example `ext4`.
    pub(super) kind: String,
    /// A server or a program answers for it, and may not.
    pub(super) remote: bool,
}

/// The mounts to publish, one for each file system (the one with the shortest path), sorted by path.
pub(super) fn select(mountinfo: &[u8], config: &FilesystemConfig) -> Vec<Mount> {
    // Of several mounts on one path only the last is seen.
    let mut by_path = HashMap::new();
    for (order, line) in parse::lines(mountinfo).enumerate() {
        if let Some((number, mountpoint, mount)) = entry(line) {
            by_path.insert(mountpoint, (order, number, mount));
        }
    }
    let mut visible: Vec<_> = by_path.into_values().collect();
    visible.sort_by(|(a, _, mount_a), (b, _, mount_b)| {
        let path = |mount: &Option<Mount>| mount.as_ref().map(|m| m.mountpoint.len());
        path(mount_a).cmp(&path(mount_b)).then(a.cmp(b))
    });
    // Whoever asks for a mount below one of these walks through it, and waits for its server.
    let may_hang: Vec<_> = visible
        .iter()
        .filter_map(|(_, _, mount)| mount.as_ref())
        .filter(|mount| {
            mount.kind == "autofs" || (mount.remote && !SKIPPED.contains(&&*mount.kind))
        })
        .map(|mount| mount.path.clone())
        .filter(|path| !path.as_os_str().is_empty())
        .collect();
    let mut file_systems = Vec::new();
    let mut selected = Vec::new();
    for (_, number, mount) in visible {
        let wanted = |mount: &Mount| is_wanted(&mount.kind, &mount.mountpoint, config);
        let Some(mut mount) = mount.filter(wanted) else { continue };
        mount.remote |= may_hang.iter().any(|path| mount.path.starts_with(path));
        if !file_systems.contains(&number) {
            file_systems.push(number);
            selected.push(mount);
        }
    }
    selected.sort_by(|a, b| a.mountpoint.cmp(&b.mountpoint));
    selected
}

/// Whether a mount of this type at this path is to be published.
pub(in super::super) fn is_wanted(kind: &str, mountpoint: &str, config: &FilesystemConfig) -> bool {
    match kind {
        kind if SKIPPED.contains(&kind) => false,
        "tmpfs" => config.tmpfs,
        // Only that of a container's root tells something that the file system below it does not.
        "overlay" => mountpoint == "/",
        kind => config.remote || is_local(kind),
    }
}

fn is_local(kind: &str) -> bool {
    LOCAL.contains(&kind)
}

/// Device number, raw path and the mount of a line (`None` when it cannot be named): id, parent, major:minor, root, path, options, optional fields, `-`, type, source, options.
fn entry(line: &[u8]) -> Option<(&[u8], &[u8], Option<Mount>)> {
    let mut fields = parse::fields(line);
    let number = fields.nth(2)?;
    let path = fields.nth(1)?;
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let (kind, device) = (fields.next()?, fields.next()?);
    let text = |field: &[u8]| parse::attribute(&unescaped(field));
    let mount = || {
        let kind = text(kind)?;
        let remote = !is_local(&kind);
        let (device, mountpoint) = (text(device)?, text(path)?);
        let path = OsString::from_vec(unescaped(path.strip_prefix(b"/")?)).into();
        Some(Mount { device, mountpoint, path, kind, remote })
    };
    Some((number, path, mount()))
}

/// Without the octal escapes of spaces, tabs, newlines and backslashes.
pub(in super::super) fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = (*first == b'\\').then(|| tail.get(..3).and_then(octal)).flatten();
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    let value = digits.iter().try_fold(0_u32, |value, digit| {
        (b'0'..=b'7').contains(digit).then(|| value * 8 + u32::from(digit - b'0'))
    });
    value.and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw,discard
28 27 254:1 /var/lib /bind rw,relatime - ext4 /dev/vda1 rw
29 27 0:40 / /mnt/two\\040words rw shared:5 master:1 - nfs4 server:/a\\134b rw
30 27 0:41 / /tmp rw - tmpfs tmpfs rw
31 27 0:42 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw
32 27 8:1 / /data rw - xfs /dev/sda1 rw
33 27 8:17 / /data rw - xfs /dev/sdb1 rw
34 27 7:1 / /snap/core/1 ro - squashfs /dev/loop1 ro
garbage
35 27
";

    fn paths(table: &[u8], config: &FilesystemConfig) -> Vec<String> {
        let named =
            |mount: Mount| format!("{} {} {}", mount.device, mount.mountpoint, mount.remote);
        select(table, config).into_iter().map(named).collect()
    }

    #[test]
    fn one_mount_for_each_file_system_that_has_a_capacity() {
        let config = FilesystemConfig::default();
        let expected =
            ["/dev/vda1 / false", "/dev/sdb1 /data false", "server:/a\\b /mnt/two words true"];
        assert_eq!(paths(TABLE, &config), expected);
    }

    #[test]
    fn memory_and_servers_are_a_matter_of_settings() {
        let config = FilesystemConfig { tmpfs: true, remote: false, ..FilesystemConfig::default() };
        let expected = ["/dev/vda1 / false", "/dev/sdb1 /data false", "tmpfs /tmp false"];
        assert_eq!(paths(TABLE, &config), expected);
    }

    #[test]
    fn what_lies_below_a_remote_mount_may_hang_with_it() {
        let table = b"\
            20 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 20 0:50 / /home rw - nfs4 server:/export rw\n\
            40 30 8:2 / /home/x/scratch rw - ext4 /dev/sda2 rw\n\
            50 20 8:3 / /homes rw - ext4 /dev/sda3 rw\n";
        let mounts =
            select(table, &FilesystemConfig { remote: false, ..FilesystemConfig::default() });
        let found: Vec<_> = mounts.iter().map(|m| (m.mountpoint.as_str(), m.remote)).collect();
        assert_eq!(found, [("/", false), ("/home/x/scratch", true), ("/homes", false)]);
    }

    #[test]
    fn an_overlay_is_published_where_it_is_the_root() {
        let table = b"1 0 0:50 / / rw - overlay overlay rw\n";
        assert_eq!(paths(table, &FilesystemConfig::default()), ["overlay / false"]);
    }
}
