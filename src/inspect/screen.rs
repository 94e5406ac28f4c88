//! What was found, to stdout as a table or as JSON lines; and how far the reading is, to stderr if that is a terminal.
//!
//! A table is written some lines at a time, so that a million of them take no memory: each column is as wide as what has been seen of it
//! so far, and grows.

use std::io::{self, IsTerminal as _, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::text::{shown, shown_json, width};
use crate::scan::Report;

/// Lines that are aligned with one another before they are written.
const LINES: usize = 200;
/// Columns wider than this are not waited for by the others.
const WIDEST: usize = 48;
/// They wait no longer than this for others, once a page has been read.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks at how far the reading is.
const OFTEN: Duration = Duration::from_millis(100);

/// How what is found is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON object in each line, the last one with the sums.
    Json,
}

/// One line.
pub trait Record {
    /// What the columns are called.
    const HEAD: &'static [&'static str];
    /// For people, a text for each column.
    fn cells(&self) -> Vec<String>;
    /// For machines.
    fn json(&self) -> Value;
}

/// How far the reading is.
pub struct Progress {
    /// Whether anybody sees it.
    seen: bool,
    total: Option<u64>,
    last: Option<Instant>,
    /// It stands on the terminal.
    stands: bool,
}

impl Progress {
    /// For people before a terminal only. `total`: about how many rows there are, where that is known.
    pub fn new(total: Option<u64>) -> Self {
        Self { seen: io::stderr().is_terminal(), total, last: None, stands: false }
    }

    /// Nobody sees it.
    pub const fn unseen() -> Self {
        Self { seen: false, total: None, last: None, stands: false }
    }

    /// Whether anybody sees it.
    pub const fn is_seen(&self) -> bool {
        self.seen
    }

    /// So many rows have been read.
    pub fn show(&mut self, rows: u64) {
        if !self.seen || self.last.is_some_and(|at| at.elapsed() < OFTEN) {
            return;
        }
        self.last = Some(Instant::now());
        self.stands = true;
        // An estimate that is too low is none.
        let of = self.total.filter(|total| *total >= rows).map(|total| format!(" of about {total}")).unwrap_or_default();
        let _ = write!(io::stderr(), "\r\x1b[K{rows}{of} rows read");
        let _ = io::stderr().flush();
    }

    /// Takes it off the terminal.
    pub fn clear(&mut self) {
        if self.stands {
            let _ = write!(io::stderr(), "\r\x1b[K");
            let _ = io::stderr().flush();
            self.stands = false;
        }
    }
}

/// Where lines go.
pub struct Screen<W> {
    out: W,
    format: Format,
    progress: Progress,
    widths: Vec<usize>,
    /// Lines that wait for others, to be aligned with them.
    waiting: Vec<Vec<String>>,
    since: Option<Instant>,
    /// The head was written.
    begun: bool,
}

impl<W: Write> Screen<W> {
    /// Nothing is written yet.
    pub const fn new(out: W, format: Format, progress: Progress) -> Self {
        Self { out, format, progress, widths: Vec::new(), waiting: Vec::new(), since: None, begun: false }
    }

    /// One line more.
    ///
    /// # Errors
    /// Those of writing.
    pub fn line<R: Record>(&mut self, record: &R) -> io::Result<()> {
        if self.format == Format::Json {
            return self.json(&record.json());
        }
        self.since.get_or_insert_with(Instant::now);
        if !self.begun {
            self.begun = true;
            self.waiting.push(R::HEAD.iter().map(ToString::to_string).collect());
        }
        self.waiting.push(record.cells().iter().map(|cell| shown(cell)).collect());
        if self.waiting.len() < LINES { Ok(()) } else { self.flush() }
    }

    /// A page was told, and so many rows have been read in all.
    ///
    /// # Errors
    /// Those of writing.
    pub fn page(&mut self, rows: u64) -> io::Result<()> {
        if self.format == Format::Json {
            self.out.flush()?;
        } else if self.since.is_some_and(|since| since.elapsed() >= PATIENCE) {
            self.flush()?;
        }
        self.progress.show(rows);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.since = None;
        let lines = std::mem::take(&mut self.waiting);
        for line in &lines {
            self.widths.resize(self.widths.len().max(line.len()), 0);
            for (known, cell) in self.widths.iter_mut().zip(line) {
                *known = width(cell).min(WIDEST).max(*known);
            }
        }
        let mut text = String::new();
        for line in &lines {
            let mut row = String::new();
            for (cell, wide) in line.iter().zip(&self.widths) {
                row.push_str(cell);
                row.extend(std::iter::repeat_n(' ', wide.saturating_sub(width(cell)) + 2));
            }
            text.push_str(row.trim_end());
            text.push('\n');
        }
        self.write(&text)?;
        self.out.flush()
    }

    /// The end: the sums, as JSON and as sentences.
    ///
    /// # Errors
    /// Those of writing.
    pub fn end(&mut self, sums: &Value, sentences: &[String]) -> io::Result<()> {
        if self.format == Format::Json {
            self.json(sums)?;
        } else {
            self.flush()?;
            let gap = if self.begun { "\n" } else { "" };
            let text: String = sentences.iter().map(|sentence| format!("{}\n", shown(sentence))).collect();
            self.write(&format!("{gap}{text}"))?;
        }
        self.progress.clear();
        self.out.flush()
    }

    fn json(&mut self, value: &Value) -> io::Result<()> {
        self.write(&format!("{}\n", shown_json(&value.to_string())))
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.progress.clear();
        self.out.write_all(text.as_bytes())
    }
}

impl<W> Drop for Screen<W> {
    fn drop(&mut self) {
        self.progress.clear();
    }
}

/// What a scan came to, or would come to, in the words of its metrics.
pub fn report(kind: &str, report: &Report) -> Value {
    json!({
        "type": kind,
        "rows": report.rows,
        "matched": report.matched,
        "entered": report.taken,
        "activated": report.activated,
        "refreshed": report.refreshed,
        "removed": report.removed,
        "byHand": report.by_hand,
        "failed": report.failed,
        "heldBack": report.held_back,
        "absent": report.drift,
        "deletesHeldBack": report.deletes_held_back,
    })
}

fn accounts(n: u64) -> String {
    format!("{n} account{}", if n == 1 { "" } else { "s" })
}

/// The same for people; `would`: nothing of it has happened.
pub fn sentences(report: &Report, would: bool) -> Vec<String> {
    let Report { rows, matched, taken, activated, by_hand, refreshed, failed, held_back, drift, deletes_held_back, removed, .. } = *report;
    let mut said = vec![
        format!("{rows} rows read; a pattern takes {}", accounts(matched)),
        if would {
            format!("{taken} would enter, {activated} be activated, {refreshed} be refreshed, {removed} be removed")
        } else {
            format!("{taken} entered, {activated} activated, {refreshed} refreshed, {removed} removed")
        },
    ];
    let mut others = |n: u64, what: &str| {
        if n > 0 {
            said.push(format!("{} {what}", accounts(n)));
        }
    };
    others(failed, if would { "would fail: the definition cannot be read or mirrored" } else { "failed: the log names each" });
    others(by_hand, "left as a user left them by hand");
    others(held_back, "kept for a later scan (maxMigrationsPerScan, scanBatchSize)");
    others(drift, "mirrored that Clouddriver does not have");
    others(deletes_held_back, "of these not removed, being more than maxDeletesPerPass, or all");
    said
}
