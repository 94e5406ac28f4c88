//! From values of rounds to a figure, its ratio and what it was meant to be.

pub use super::figures::quantile;
use super::figures::text;

/// Where the origin, nginx and HAProxy are among the targets; all after them are Fairleads.
const DIRECT: usize = 0;
const NGINX: usize = 1;
const HAPROXY: usize = 2;

/// Which of two values one would rather have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Low,
    High,
}

/// What a figure of Fairlead's should be. Of ratios, at most or at least that, as [`Better`] says.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    ToNginx(f64),
    /// To the better of nginx and HAProxy.
    ToBetter(f64),
    /// No ratio: the value itself.
    AtMost(f64),
}

/// One figure of all targets.
pub struct Figure {
    title: String,
    unit: &'static str,
    better: Better,
    goal: Option<Goal>,
    ratios: bool,
    /// For each target, what each round gave.
    rounds: Vec<Vec<f64>>,
}

impl Figure {
    pub fn new(title: &str, unit: &'static str, better: Better, goal: Option<Goal>) -> Self {
        Self { title: title.to_owned(), unit, better, goal, ratios: true, rounds: Vec::new() }
    }

    /// For what is no merit of the target's.
    pub fn without_ratios(mut self) -> Self {
        self.ratios = false;
        self
    }

    /// A round's value of a target.
    pub fn push(&mut self, target: usize, value: f64) {
        if self.rounds.len() <= target {
            self.rounds.resize(target + 1, Vec::new());
        }
        self.rounds[target].push(value);
    }

    fn median(&self, target: usize) -> f64 {
        quantile(&mut self.rounds[target].clone(), 0.5)
    }

    /// Which of nginx and HAProxy is to be held against.
    fn reference(&self) -> usize {
        let haproxy_leads = match self.better {
            Better::Low => self.median(HAPROXY) < self.median(NGINX),
            Better::High => self.median(HAPROXY) > self.median(NGINX),
        };
        match self.goal {
            Some(Goal::ToNginx(_)) => NGINX,
            _ if haproxy_leads => HAPROXY,
            _ => NGINX,
        }
    }

    /// Prints it; what the goal's verdict is on each Fairlead comes back.
    pub fn print(&self, names: &[String]) -> Vec<String> {
        println!("\n{}, {} (median of {} rounds, quartiles)", self.title, self.unit, self.rounds[NGINX].len());
        let mut verdicts = Vec::new();
        for (target, values) in self.rounds.iter().enumerate().filter(|(_, values)| !values.is_empty()) {
            let mut values = values.clone();
            let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| quantile(&mut values, share));
            let note = match target {
                DIRECT if self.title.starts_with("Added") => "not added: the way without a proxy".to_owned(),
                DIRECT | NGINX | HAPROXY => String::new(),
                _ => self.ratio(target, names),
            };
            let line = format!("  {:<10} {:>9}   {:>9} to {:<9} {note}", names[target], text(middle), text(low), text(high));
            println!("{}", line.trim_end());
            if let Some(verdict) = self.verdict(target).filter(|_| target > HAPROXY) {
                let comma = if note.is_empty() { "" } else { ", " };
                verdicts.push(format!("{verdict}; {}: {}, {} {}{comma}{note}", names[target], self.title, text(middle), self.unit));
            }
        }
        verdicts
    }

    /// Against the reference: of the medians, and in brackets the quartiles of what the rounds say by themselves.
    fn ratio(&self, target: usize, names: &[String]) -> String {
        if !self.ratios {
            return String::new();
        }
        let reference = self.reference();
        if self.median(reference) <= 0.0 {
            return format!("no ratio: {} is lost in the noise", names[reference]);
        }
        let mut by_round: Vec<f64> = self.rounds[target].iter().zip(&self.rounds[reference]).map(|(a, b)| a / b).collect();
        let [low, high] = [0.25, 0.75].map(|share| quantile(&mut by_round, share));
        format!("{:.2} x {} ({low:.2} to {high:.2})", self.median(target) / self.median(reference), names[reference])
    }

    /// How the goal was met, and which it is.
    fn verdict(&self, target: usize) -> Option<String> {
        let (value, reference) = (self.median(target), self.median(self.reference()));
        let (bound, of) = match self.goal? {
            Goal::AtMost(bound) => (bound, self.unit),
            Goal::ToNginx(bound) | Goal::ToBetter(bound) => (bound * reference, "x"),
        };
        let named = match self.goal? {
            Goal::AtMost(bound) | Goal::ToNginx(bound) | Goal::ToBetter(bound) => bound,
        };
        let (met, word) = match self.better {
            Better::Low => (value <= bound, "at most"),
            Better::High => (value >= bound, "at least"),
        };
        let met = match met {
            _ if of == "x" && reference <= 0.0 => "unclear",
            true => "met",
            false => "MISSED",
        };
        Some(format!("{met:<7} ({word} {named:.1} {of})"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(better: Better, goal: Goal, medians: [f64; 4]) -> Figure {
        let mut figure = Figure::new("f", "u", better, Some(goal));
        for (target, value) in medians.into_iter().enumerate() {
            figure.push(target, value);
        }
        figure
    }

    #[test]
    fn a_goal_is_held_against_the_reference_that_it_names() {
        let verdict = |better, goal, medians| figure(better, goal, medians).verdict(3).unwrap();
        // Direct, nginx, HAProxy, Fairlead.
        assert!(verdict(Better::Low, Goal::ToNginx(1.0), [0.0, 10.0, 5.0, 10.0]).starts_with("met"));
        assert!(verdict(Better::Low, Goal::ToBetter(1.2), [0.0, 10.0, 5.0, 6.1]).starts_with("MISSED"));
        assert!(verdict(Better::High, Goal::ToBetter(1.1), [0.0, 100.0, 90.0, 109.0]).starts_with("MISSED"));
        assert!(verdict(Better::High, Goal::ToBetter(1.1), [0.0, 90.0, 100.0, 110.1]).starts_with("met"));
        assert!(verdict(Better::Low, Goal::AtMost(10.0), [0.0, 1.0, 1.0, 10.1]).starts_with("MISSED"));
        assert!(verdict(Better::Low, Goal::ToNginx(1.0), [0.0, -1.0, 5.0, -2.0]).starts_with("unclear"));
    }
}
