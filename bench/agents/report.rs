//! Figures and goals, as they are printed.

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

/// Three digits that matter, no more.
fn text(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The value below which that share of the values lies (nearest rank); sorts them.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    assert!(!values.is_empty(), "a figure without a value");
    values.sort_unstable_by(f64::total_cmp);
    let rank = (share * values.len() as f64).ceil().max(1.0) as usize;
    values[rank.min(values.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values_and_a_goal_that_is_reached_is_met() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|share| quantile(&mut values, share)), [1.0, 50.0, 99.0, 100.0]);
        let mut report = Report::default();
        report.held("p", "n", 10.0, "s", Goal(10.0));
        report.held("p", "n", 10.1, "s", Goal(10.0));
        assert!(report.verdicts[0].starts_with("met") && report.verdicts[1].starts_with("MISSED"));
    }
}
