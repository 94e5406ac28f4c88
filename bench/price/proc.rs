//! Processes: one that we have started, and what any of them cost, as the kernel counts it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child with a log, killed at the latest when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says is appended to the log.
    pub fn spawn(mut command: Command, log: &Path) -> io::Result<Self> {
        let out = File::options().create(true).append(true).open(log)?;
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<String> {
        self.child.try_wait().ok().flatten().map(|status| status.to_string())
    }

    /// Ends it as its operator would: by SIGTERM, and by patience. A child that was not waited for keeps its number, so the signal hits
    /// no other process.
    pub fn terminate(&mut self, patience: Duration) {
        let _ = Command::new("kill").args(["-s", "TERM", &self.child.id().to_string()]).status();
        let began = Instant::now();
        while self.ended().is_none() && began.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What it said.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process and all that it and its children have started.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(pid) = pids.get(next).copied() {
        next += 1;
        for (_, task) in tasks(pid) {
            let children = fs::read_to_string(task.join("children")).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    pids
}

fn tasks(pid: u32) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.flatten().filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path()))).collect()
}

/// Time on a CPU of each thread of some processes.
///
/// By thread, because only there is it counted in nanoseconds: `/proc/PID/stat` has steps of 10 ms, as long as a whole body takes. A
/// thread that ends takes its time with it; those that carry requests live as long as their process.
pub struct Cpu(HashMap<u32, u64>);

impl Cpu {
    /// Of a process and all that it has started.
    pub fn of_tree(pid: u32) -> Self {
        Self::of(&tree(pid))
    }

    /// Of these processes alone.
    pub fn of(pids: &[u32]) -> Self {
        let mut threads = HashMap::new();
        for (thread, task) in pids.iter().copied().flat_map(tasks) {
            let stat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
            if let Some(nanos) = stat.split(' ').next().and_then(|nanos| nanos.parse().ok()) {
                threads.insert(thread, nanos);
            }
        }
        Self(threads)
    }

    /// What was used since then.
    pub fn since(&self, before: &Self) -> Duration {
        Duration::from_nanos(self.by_thread(before).sum())
    }

    /// Of that, the share of the thread that used most.
    pub fn busiest_since(&self, before: &Self) -> f64 {
        let most = self.by_thread(before).max().unwrap_or(0);
        most as f64 / self.since(before).as_nanos().max(1) as f64
    }

    fn by_thread(&self, before: &Self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(thread, nanos)| nanos.saturating_sub(before.0.get(thread).copied().unwrap_or(0)))
    }
}

/// Seconds on a CPU of a process and all that it has started, with the threads that have ended, in steps of 10 ms.
pub fn seconds_of_tree(pid: u32) -> f64 {
    let seconds = |pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name, which may have blanks, come the state and eleven more before the two times.
        let times = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
    };
    tree(pid).into_iter().map(seconds).sum()
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Pages that several processes share count in each of them.
    pub resident: u64,
    /// They count once.
    pub proportional: u64,
}

impl Memory {
    /// The sum over a process and all that it has started.
    pub fn of_tree(pid: u32) -> Self {
        let mut sum = Self::default();
        for pid in tree(pid) {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let kilobytes = |key: &str| -> u64 {
                rollup
                    .lines()
                    .find_map(|l| l.strip_prefix(key)?.trim().strip_suffix(" kB")?.trim().parse().ok())
                    .expect("smaps_rollup of a child")
            };
            sum.resident += kilobytes("Rss:") * 1024;
            sum.proportional += kilobytes("Pss:") * 1024;
        }
        sum
    }
}

/// What all CPUs did until now, in seconds.
pub struct Machine {
    busy: f64,
    stolen: f64,
    idle: f64,
}

impl Machine {
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").expect("/proc/stat");
        // user nice system idle iowait irq softirq steal, in hundredths on every Linux
        let fields: Vec<f64> = stat.split_whitespace().skip(1).take(8).map(|n| n.parse::<f64>().expect("a number") / 100.0).collect();
        Self { busy: fields[0] + fields[1] + fields[2] + fields[5] + fields[6], stolen: fields[7], idle: fields[3] + fields[4] }
    }

    /// Seconds in which a CPU worked for somebody.
    pub fn busy_since(&self) -> f64 {
        Self::now().busy - self.busy
    }

    /// The share of all time that other machines on the same hardware had.
    pub fn stolen_since(&self) -> f64 {
        let now = Self::now();
        let stolen = now.stolen - self.stolen;
        stolen / (stolen + now.busy - self.busy + now.idle - self.idle).max(0.01)
    }
}

/// The load average as the kernel prints it.
pub fn load_average() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// How many files this process and its children may have open.
pub fn open_files_limit() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|l| l.strip_prefix("Max open files"));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_child_of_a_child_counts() {
        let mut command = Command::new("sh");
        command.args(["-c", "(while :; do :; done) & wait"]);
        let mut shell = Process::spawn(command, &std::env::temp_dir().join(format!("fairlead-price-{}", std::process::id()))).unwrap();
        let before = Cpu::of_tree(shell.id());
        let began = Instant::now();
        let used = loop {
            let used = Cpu::of_tree(shell.id()).since(&before);
            if used > Duration::from_millis(50) || began.elapsed() > Duration::from_secs(30) {
                break used;
            }
        };
        let children: Vec<u32> = tree(shell.id()).into_iter().skip(1).collect();
        let resident = Memory::of_tree(shell.id()).resident;
        for child in &children {
            let _ = Command::new("kill").arg(child.to_string()).status();
        }
        shell.terminate(Duration::from_secs(5));
        let _ = fs::remove_file(&shell.log);
        assert_eq!(children.len(), 1, "{children:?}");
        assert!(used > Duration::from_millis(50), "{used:?}");
        assert!(resident > 4096, "{resident}");
    }
}
