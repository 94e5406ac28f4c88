//! A scan when nothing has changed, on tables of several sizes: what it takes must not grow with the table.

use crate::figure;
use crate::figures::quantile;
use crate::plan::Plan;
use crate::table::Table;
use crate::target::Target;

/// Scans that are measured, after the first, which reads everything.
const SCANS: usize = 10;

pub async fn run(plan: &Plan, table: &mut Table<'_>) {
    let mut first = None;
    for rows in [1_000, 100_000, 1_000_000].into_iter().filter(|rows| *rows <= plan.rows) {
        table.fill(rows).await;
        let fairlead = Target::start(plan, table.database, "steady", "scanFrequencySeconds: 1, fullScanFrequencySeconds: 604800");
        // The first reads all, and takes over what matches; the next ones look at what that one left.
        fairlead.scanned(2.0);
        if !fairlead.at_rest() {
            println!("  with {rows} rows the database never says that nothing has changed: each scan looks for changes");
        }
        let (mut times, mut read) = (Vec::new(), 0.0);
        for _ in 0..SCANS {
            let before = fairlead.counts();
            let scan = fairlead.scanned_since(&before);
            times.push(scan.seconds);
            read += scan.rows;
        }
        let median = quantile(&mut times, 0.5);
        figure(&format!("a scan with nothing changed, {rows} rows, median"), median * 1e3, "ms");
        figure("  rows of Clouddriver's that it read, mean", read / SCANS as f64, "rows");
        match first {
            None => first = Some(median),
            Some(first) => figure("  times what the smallest table took", median / first, "x"),
        }
    }
}
