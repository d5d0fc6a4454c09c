//! What this machine has.

use headsaw::units::Bytes;

/// Memory that this process may use: what the machine has, or what its control group allows. None where the system does
/// not say it in a file (it is Linux that does).
pub fn memory() -> Option<Bytes> {
    let read = |path| std::fs::read_to_string(path).ok();
    let machine = read("/proc/meminfo").as_deref().and_then(total);
    let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let allowed = groups.into_iter().filter_map(read).filter_map(|text| text.trim().parse().ok()).map(Bytes);
    machine.into_iter().chain(allowed).min()
}

/// `MemTotal` of a `/proc/meminfo`.
fn total(meminfo: &str) -> Option<Bytes> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Bytes(1024) * kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       24676924 kB\n"), Some(Bytes(24_676_924 * 1024)));
        assert_eq!(total("nothing"), None);
    }
}
