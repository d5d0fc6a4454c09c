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

/// The processor's name for people. None where the system does not say it in a file.
pub fn processor() -> Option<String> {
    named(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

/// `model name` of a `/proc/cpuinfo`, at most a line of it.
fn named(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    let name: String = line.split_once(':')?.1.trim().chars().filter(|c| !c.is_control()).take(80).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       24676924 kB\n"), Some(Bytes(24_676_924 * 1024)));
        assert_eq!(total("nothing"), None);
    }

    #[test]
    fn the_processor_is_named() {
        assert_eq!(named("processor\t: 0\nmodel name\t: AMD EPYC\nstepping: 1\n"), Some("AMD EPYC".into()));
        assert_eq!(named("Hardware : none\nmodel name\t:\n"), None);
    }
}
