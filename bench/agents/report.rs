//! Figures and goals, as they are printed.

pub use super::figures::quantile;
use super::figures::text;

/// What a figure should be at most.
#[derive(Clone, Copy, Debug)]
pub struct Goal(pub f64);

/// What was found out in a run.
#[derive(Default)]
pub struct Report {
    verdicts: Vec<String>,
}

impl Report {
    pub fn part(&self, title: &str) {
        println!("\n{title}");
    }

    /// Prints a figure.
    pub fn figure(&self, name: &str, value: f64, unit: &str) {
        println!("  {name:<62} {:>9} {unit}", text(value));
    }

    /// Prints a figure and remembers whether it is as it should be.
    pub fn held(&mut self, part: &str, name: &str, value: f64, unit: &str, Goal(bound): Goal) {
        self.figure(name, value, unit);
        let met = if value <= bound { "met" } else { "MISSED" };
        self.verdicts.push(format!("{met:<7} (at most {} {unit}) {part}: {name}: {} {unit}", text(bound), text(value)));
    }

    /// All goals, at the end.
    pub fn goals(&self) {
        println!("\nGoals");
        for verdict in &self.verdicts {
            println!("  {verdict}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_that_is_reached_is_met() {
        let mut report = Report::default();
        report.held("p", "n", 10.0, "s", Goal(10.0));
        report.held("p", "n", 10.1, "s", Goal(10.0));
        assert!(report.verdicts[0].starts_with("met") && report.verdicts[1].starts_with("MISSED"));
    }
}
