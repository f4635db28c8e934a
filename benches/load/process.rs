//! What `/proc` tells of the server: processor time, memory.

use std::fs;

/// A process at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Seconds in the program.
    pub user: f64,
    /// Seconds in the kernel for it.
    pub system: f64,
    /// Seconds on a processor, to the nanosecond, of the threads that live.
    pub running: f64,
    /// Seconds that its threads waited for a processor.
    pub waiting: f64,
    /// Resident memory in KiB.
    pub resident: u64,
    /// The most there was.
    pub peak: u64,
    pub threads: u64,
}

impl Process {
    pub fn read(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in brackets and may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
        let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()?? as f64;
        let mut process = Self { user: ticks(11)? / per_second, system: ticks(12)? / per_second, ..Self::default() };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        for line in status.lines() {
            let value = || line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
            match line.split(':').next() {
                Some("VmRSS") => process.resident = value(),
                Some("VmHWM") => process.peak = value(),
                Some("Threads") => process.threads = value(),
                _ => {}
            }
        }
        for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
            process.running += numbers.next().unwrap_or(0.0) / 1e9;
            process.waiting += numbers.next().unwrap_or(0.0) / 1e9;
        }
        Some(process)
    }

    pub fn processor(&self) -> f64 {
        self.user + self.system
    }
}

/// One processor's seconds: busy, all, and those that another machine had.
#[derive(Clone, Copy, Debug, Default)]
pub struct Core {
    pub busy: f64,
    pub all: f64,
    pub stolen: f64,
}

impl Core {
    pub fn read(core: usize) -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let name = format!("cpu{core}");
        let line = stat.lines().find(|line| line.split_whitespace().next() == Some(&name))?;
        let seconds: Vec<f64> =
            line.split_whitespace().skip(1).take(8).filter_map(|word| word.parse::<f64>().ok()).map(|ticks| ticks / 100.0).collect();
        let all = seconds.iter().sum::<f64>();
        Some(Self { busy: all - seconds.get(3)? - seconds.get(4)?, all, stolen: seconds.get(7).copied().unwrap_or(0.0) })
    }
}
