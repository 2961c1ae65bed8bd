//! What the machine says: processor time and memory of a process, and how busy everything else was.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};

/// Processor time at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    server: Duration,
    fleet: Duration,
    machine: Duration,
}

/// Processor time that was used between two moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// By the server.
    pub server: Duration,
    /// By the simulated fleet.
    pub fleet: Duration,
    /// By everything else on the machine.
    pub other: Duration,
}

impl Moment {
    /// Now. `server` is the id of the server's process.
    ///
    /// # Errors
    /// When the process is not there.
    pub fn now(server: u32) -> Result<Self> {
        Ok(Self {
            server: processor_time(server)?,
            fleet: process("self")?,
            machine: machine()?,
        })
    }

    /// What was used since an earlier moment.
    pub fn since(self, earlier: Self) -> Used {
        let server = self.server.saturating_sub(earlier.server);
        let fleet = self.fleet.saturating_sub(earlier.fleet);
        let machine = self.machine.saturating_sub(earlier.machine);
        Used {
            server,
            fleet,
            other: machine.saturating_sub(server + fleet),
        }
    }
}

impl std::ops::AddAssign for Used {
    fn add_assign(&mut self, other: Self) {
        self.server += other.server;
        self.fleet += other.fleet;
        self.other += other.other;
    }
}

/// Processor time of a process until now.
///
/// # Errors
/// When the process is not there.
pub fn processor_time(id: u32) -> Result<Duration> {
    process(&id.to_string())
}

/// Processor time of all threads of a process, of those that have ended too.
fn process(id: &str) -> Result<Duration> {
    let path = format!("/proc/{id}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let ticks = stat_ticks(&stat).with_context(|| format!("cannot understand {path}"))?;
    // A hundredth of a second is too coarse for one change; the scheduler counts the threads that run in nanoseconds.
    match running_threads(&Path::new("/proc").join(id)) {
        Some(precise) => Ok(precise.max(ticks.saturating_sub(TICK * 2))),
        None => Ok(ticks),
    }
}

fn running_threads(process: &Path) -> Option<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(process.join("task")).ok()? {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(thread.ok()?.path().join("schedstat")) else {
            continue;
        };
        nanos += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanos))
}

/// User and system time of `/proc/{id}/stat`. The name of the program may have anything in it.
fn stat_ticks(stat: &str) -> Option<Duration> {
    const USER_AFTER_NAME: usize = 11;
    let (_, after_name) = stat.rsplit_once(") ")?;
    let mut fields = after_name.split_whitespace().skip(USER_AFTER_NAME);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}

/// Processor time of everything on the machine.
fn machine() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    busy_ticks(&stat).context("cannot understand /proc/stat")
}

/// All of the first line of `/proc/stat` but what was idle or waited for a disk, and but guests, which are in the users' time.
fn busy_ticks(stat: &str) -> Option<Duration> {
    const IDLE: usize = 3;
    const WAITING: usize = 4;
    const GUESTS: usize = 8;
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let mut busy = 0;
    for (index, number) in line.split_whitespace().take(GUESTS).enumerate() {
        if index != IDLE && index != WAITING {
            busy += number.parse::<u64>().ok()?;
        }
    }
    Some(Duration::from_millis(busy * 10))
}

/// A hundredth of a second: what the kernel's interfaces count in, on every architecture.
const TICK: Duration = Duration::from_millis(10);

/// Bytes of a process that are in memory.
///
/// # Errors
/// When the process is not there.
pub fn resident_bytes(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    kibibytes(&status, "VmRSS:").with_context(|| format!("cannot understand {path}"))
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_understood() {
        let stat = "42 (a ) name) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0 20 0 8 0 100 1000 200";
        assert_eq!(stat_ticks(stat), Some(Duration::from_millis(1750)));
        let machine = "cpu  100 20 30 1000 500 1 2 3 40 50\ncpu0 1 2 3\n";
        assert_eq!(busy_ticks(machine), Some(Duration::from_millis(1560)));
        let status = "Name:\tbowline\nVmHWM:\t  999 kB\nVmRSS:\t  2048 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(2048 * 1024));
        assert_eq!(stat_ticks("nothing"), None);
        assert_eq!(busy_ticks("intr 5"), None);
        assert_eq!(kibibytes("VmRSS: many kB", "VmRSS:"), None);
    }

    #[test]
    fn a_process_uses_time_and_memory() {
        let own = std::process::id();
        let before = Moment::now(own).unwrap();
        let mut sum = 0_u64;
        while Moment::now(own).unwrap().since(before).fleet < Duration::from_millis(5) {
            sum = (0..100_000).fold(sum, |sum, number| sum.wrapping_mul(31) ^ number);
        }
        assert_ne!(std::hint::black_box(sum), 1);
        assert!(resident_bytes(own).unwrap() > 100_000);
        assert!(resident_bytes(u32::MAX).is_err());
    }
}
