//! Figures of the process, read from `/proc` when somebody asks. Where `/proc` does not tell, a figure is left out.

use std::fmt;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// What the kernel counts processor time in, for programs, on every architecture of Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// The standard `process_*` metrics.
#[derive(Debug)]
pub(super) struct Process {
    started: f64,
}

impl Process {
    /// Made once at start: its making is what `process_start_time_seconds` tells.
    pub(super) fn new() -> Self {
        Self { started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()) }
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: Option<f64>| match value {
            Some(value) => {
                let gauge = ConstGauge::new(value);
                let at = encoder.encode_descriptor(name, help, unit.as_ref(), gauge.metric_type())?;
                gauge.encode(at)
            }
            None => Ok(()),
        };
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        gauge("process_resident_memory", "Memory that is in use and not swapped out", Some(Unit::Bytes), resident(&status))?;
        gauge("process_threads", "Threads", None, field(&status, "Threads:"))?;
        gauge("process_open_fds", "Open files and sockets", None, fs::read_dir("/proc/self/fd").ok().map(|fds| fds.count() as f64))?;
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        gauge("process_max_fds", "Files and sockets that may be open at once", None, field(&limits, "Max open files"))?;
        gauge("process_start_time", "When the process started, since 1970", Some(Unit::Seconds), Some(self.started))?;
        if let Some(seconds) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu_seconds(&stat)) {
            let counter = ConstCounter::new(seconds);
            let at = encoder.encode_descriptor(
                "process_cpu",
                "Processor time used, user and system",
                Some(&Unit::Seconds),
                counter.metric_type(),
            )?;
            counter.encode(at)?;
        }
        Ok(())
    }
}

fn resident(status: &str) -> Option<f64> {
    field(status, "VmRSS:").map(|kibibytes| kibibytes * 1024.0)
}

/// The first number after a label at the start of a line.
fn field(text: &str, label: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(label))?.split_whitespace().next()?.parse().ok()
}

/// utime and stime, the 14th and 15th field. The second field is the program's name in brackets and may hold spaces and
/// brackets of its own, so counting starts after the last one.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_a_name_with_spaces_and_brackets() {
        let stat = "42 (fair) lead)) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 100 0 0";
        assert_eq!(cpu_seconds(stat), Some(2.0));
    }

    #[test]
    fn memory_is_told_in_bytes() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152.0));
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_left_out() {
        assert_eq!(field("Max open files            unlimited            unlimited            files", "Max open files"), None);
        assert_eq!(cpu_seconds("nothing"), None);
    }
}
