//! `fairlead config check`: what would be wrong, and what would count.

use std::io::{self, Write};

use super::load::{Sources, load};
use super::remark::{Effective, Mistakes, Remark};
use super::settings::SourceConfig;

/// The exit code of a configuration that cannot be used.
pub const EXIT_MISTAKES: i32 = 64;

/// Parses everything, connects to nothing, and writes mistakes, warnings, notes and the effective configuration with
/// secrets hidden. Returns the process's exit code: 0, or [`EXIT_MISTAKES`].
///
/// # Errors
/// Only those of writing to `out`.
pub fn run(sources: &Sources, out: &mut impl Write) -> io::Result<i32> {
    match load(sources) {
        Ok(loaded) => {
            if loaded.files.is_empty() {
                writeln!(out, "no file was found or named: defaults and the environment count")?;
            } else {
                writeln!(out, "read, later over earlier: {}", loaded.files.join(", "))?;
            }
            remarks(out, "warning", &loaded.warnings)?;
            remarks(out, "note", &loaded.notes)?;
            if loaded.settings.seal.is_none() {
                writeln!(out, "warning: no seal key is configured: kubeconfigs lie in the database as they came (fairlead.seal.keyFile)")?;
            }
            effective(out, &loaded.effective)?;
            let database = &loaded.settings.database;
            let accounts = match &database.source {
                SourceConfig::SameDatabase => format!("by SQL from {}", database.main.label),
                SourceConfig::OtherDatabase(pool) => format!("by SQL from {}", pool.label),
                SourceConfig::Api { .. } => "by Clouddriver's API".to_owned(),
            };
            writeln!(out, "\nFairlead's tables: {}\nClouddriver's accounts: read {accounts}", database.main.label)?;
            writeln!(out, "\nthe configuration can be used")?;
            Ok(0)
        }
        Err(Mistakes { mistakes, warnings, notes, effective: lines }) => {
            remarks(out, "mistake", &mistakes)?;
            remarks(out, "warning", &warnings)?;
            remarks(out, "note", &notes)?;
            effective(out, &lines)?;
            let n = mistakes.len();
            writeln!(out, "\nthe configuration cannot be used: {n} mistake{}", if n == 1 { "" } else { "s" })?;
            Ok(EXIT_MISTAKES)
        }
    }
}

fn remarks(out: &mut impl Write, what: &str, remarks: &[Remark]) -> io::Result<()> {
    remarks.iter().try_for_each(|remark| writeln!(out, "{what}: {remark}"))
}

fn effective(out: &mut impl Write, lines: &[Effective]) -> io::Result<()> {
    writeln!(out, "\neffective configuration:")?;
    let mut lines: Vec<&Effective> = lines.iter().collect();
    lines.sort_by(|a, b| a.key.cmp(&b.key));
    lines.dedup_by(|a, b| a.key == b.key);
    lines.iter().try_for_each(|line| writeln!(out, "  {} = {}  ({})", line.key, line.value, line.origin))
}
