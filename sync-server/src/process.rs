//! What the operating system says of this process, as far as it is Linux.

use std::fs;
use std::time::Duration;

/// The unit of times in `/proc/self/stat`: the kernel's interface has hundredths on all machines that Rust runs on.
const TICK: Duration = Duration::from_millis(10);

/// Numbers of this process; what the system does not say is missing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Process {
    pub(crate) cpu: Option<Duration>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) open_files: Option<u64>,
    pub(crate) open_files_max: Option<u64>,
}

impl Process {
    /// As it is now.
    pub(crate) fn read() -> Self {
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let (status, stat, limits) = (read("status"), read("stat"), read("limits"));
        let kilobytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
        };
        let max = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        Self {
            cpu: cpu(&stat),
            resident_bytes: kilobytes("VmRSS:"),
            virtual_bytes: kilobytes("VmSize:"),
            // The directory that is being read is one of them.
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|files| (files.count() as u64).saturating_sub(1)),
            open_files_max: max.and_then(|line| line.split_whitespace().next()?.parse().ok()),
        }
    }
}

/// User and system time: the 14th and 15th field. The second, the program's name in brackets, may hold anything.
fn cpu(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * ticks()?.checked_add(ticks()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 9 0 100 1 2 3";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_open_files() {
        let now = Process::read();
        assert!(now.resident_bytes > Some(100_000) && now.virtual_bytes >= now.resident_bytes, "{now:?}");
        assert!(
            now.open_files >= Some(3) && now.open_files_max >= now.open_files && now.cpu.is_some(),
            "{now:?}"
        );
    }
}
