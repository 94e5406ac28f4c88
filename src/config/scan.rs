//! The scanner's keys, in the plugin's names.

use std::time::Duration;

use super::reader::Reader;
use super::settings::Scan;
use super::values;
use crate::patterns::{Pattern, Patterns};

const AT: &str = "kubesvc.dynamicAccounts";

/// What is scanned, and whether it is at all. `enabled`: `kubesvc.dynamicAccounts.enabled`. Its `batch` counts for accounts that an earlier
/// scan left too. `None`: a mistake was noted.
pub(super) fn read(reader: &mut Reader<'_>, enabled: bool) -> (Option<(Scan, bool)>, u32) {
    let mistakes = reader.findings.mistakes.len();
    let scan = reader.located(&format!("{AT}.scan"), values::boolean);
    let mut patterns = Vec::new();
    for list in ["namePatterns", "credentialScanNamePatterns"] {
        for (i, given) in reader.listed(&format!("{AT}.{list}")).into_iter().enumerate() {
            match Pattern::read(&given.text) {
                Ok(pattern) => patterns.push((pattern, given)),
                Err(fault) if fault.at == 0 => reader.mistake(&given, format!("pattern {}: {}", i + 1, fault.why)),
                Err(fault) => reader.mistake(&given, format!("pattern {}, at its character {}: {}", i + 1, fault.at, fault.why)),
            }
        }
    }
    let last = patterns.last().map(|(_, given)| given.clone());
    let patterns = match (Patterns::new(patterns.into_iter().map(|(p, _)| p).collect()), last) {
        (Ok(patterns), _) => Some(patterns),
        (Err(fault), Some(at)) => {
            reader.mistake(&at, fault.why);
            None
        }
        (Err(_), None) => None,
    };
    let batch = number(reader, "scanBatchSize", 1, 100_000);
    let seconds = |text: &str| values::number(1, 7 * 86_400)(text).map(Duration::from_secs);
    let every = reader.required(&format!("{AT}.scanFrequencySeconds"), seconds);
    let full = reader.required(&format!("{AT}.fullScanFrequencySeconds"), seconds);
    let page = number(reader, "scanPageSize", 1, 1_000);
    let deletes = reader.required(&format!("{AT}.scanDeletes"), values::boolean);
    let max = number(reader, "maxMigrationsPerScan", 0, u64::from(u32::MAX));
    let (Some(patterns), true) = (patterns, mistakes == reader.findings.mistakes.len()) else { return (None, batch) };
    if let (Some((true, at)), true) = (&scan, patterns.is_empty()) {
        let text = "is true and there are neither namePatterns nor credentialScanNamePatterns: no account matches, and none is migrated";
        reader.warn(at, text);
    }
    let on = scan.map_or(!patterns.is_empty(), |(on, _)| on);
    let settings = Scan { patterns, page, batch, every, full, deletes, max_migrations: Some(max).filter(|n| *n > 0) };
    (Some((settings, on && enabled)), batch)
}

fn number(reader: &mut Reader<'_>, key: &str, least: u64, most: u64) -> u32 {
    u32::try_from(reader.required(&format!("{AT}.{key}"), values::number(least, most))).unwrap_or(u32::MAX)
}
