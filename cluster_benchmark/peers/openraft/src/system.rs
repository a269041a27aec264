//! What the system tells of this process and this machine.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// As in the suite's results. What the system does not tell is "unknown" or 0.
#[derive(Serialize)]
pub struct Machine {
    os: &'static str,
    arch: &'static str,
    cpu: String,
    pub cores: usize,
    memory_bytes: u64,
    kernel: String,
    filesystem: String,
}

const UNKNOWN: &str = "unknown";

impl Machine {
    /// Describes this machine and the filesystem that holds a directory, in the words of the Go programs.
    pub fn this(dir: &str) -> Self {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self {
            os: std::env::consts::OS,
            arch,
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| UNKNOWN.into()),
            cores: cores(),
            memory_bytes: kilobytes("/proc/meminfo", "MemTotal").unwrap_or(0),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").map_or_else(|_| UNKNOWN.into(), |s| s.trim().into()),
            filesystem: filesystem(dir).unwrap_or_else(|| UNKNOWN.into()),
        }
    }
}

/// The processors that this process may use.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The value of the first line "name: value" in a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name)?;
    Some(line.1.trim().to_string())
}

/// The same, in bytes, of a line "name: 123 kB".
fn kilobytes(path: &str, name: &str) -> Option<u64> {
    Some(field(path, name)?.strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// The type of the mount that holds a directory: the one with the longest path above it.
fn filesystem(dir: &str) -> Option<String> {
    let dir = fs::canonicalize(dir).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let above = mounts.filter(|(path, _)| dir.starts_with(Path::new(path)));
    above.max_by_key(|(path, _)| path.len()).map(|(_, kind)| kind.to_string())
}

/// Seconds of processor time that this process has used, user and system.
pub fn cpu_seconds() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage fills the structure that it is given; all of its fields are numbers, for which zero is fine.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// The peak of resident memory of this process in bytes, 0 where the system does not tell.
pub fn peak_memory() -> u64 {
    kilobytes("/proc/self/status", "VmHWM").unwrap_or(0)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn tells() {
        let m = Machine::this("/");
        assert!(
            m.cores > 0 && m.memory_bytes > 1 << 20 && m.kernel.contains('.') && m.filesystem != UNKNOWN,
            "{}",
            m.filesystem
        );
        assert!(peak_memory() > 1 << 16 && cpu_seconds() < 1e6);
        assert_eq!(filesystem("/proc/self").as_deref(), Some("proc"));
    }
}
