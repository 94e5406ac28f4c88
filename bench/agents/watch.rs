//! Looks at the crowd and at Fairlead ten times a second while something happens.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::crowd::Running;
use crate::proc::{Cpu, seconds_of_tree};

const STEP: Duration = Duration::from_millis(100);

/// One look.
struct Look {
    at: f64,
    registered: usize,
    handshakes: u64,
    cpu: f64,
}

/// What was seen.
pub struct Seen {
    looks: Vec<Look>,
    size: usize,
    /// Seconds on a CPU of the crowd's own process.
    pub crowd_cpu: f64,
}

/// Looks until all of the crowd are registered. Time begins with `began`.
pub fn until_all(running: &Running, pid: u32, began: Instant, patience: Duration) -> Seen {
    let own = [std::process::id()];
    let (crowd_before, mut looks) = (Cpu::of(&own), Vec::new());
    loop {
        let look = Look {
            at: began.elapsed().as_secs_f64(),
            registered: running.registered(),
            handshakes: running.crowd.handshakes.load(Relaxed),
            cpu: seconds_of_tree(pid),
        };
        let done = look.registered >= running.size;
        looks.push(look);
        if done || began.elapsed() > patience {
            return Seen { looks, size: running.size, crowd_cpu: Cpu::of(&own).since(&crowd_before).as_secs_f64() };
        }
        std::thread::sleep(STEP);
    }
}

impl Seen {
    /// Seconds until that share was registered; infinite if it never was.
    pub fn share(&self, share: f64) -> f64 {
        let wanted = (self.size as f64 * share).ceil() as usize;
        self.looks.iter().find(|look| look.registered >= wanted).map_or(f64::INFINITY, |look| look.at)
    }

    /// Of any second, the most handshakes that came to their end in it.
    pub fn most_handshakes(&self) -> f64 {
        self.most(|later, sooner| (later.handshakes - sooner.handshakes) as f64)
    }

    /// Handshakes for each agent that came back.
    pub fn handshakes_each(&self) -> f64 {
        let count = self.looks.last().map_or(0, |l| l.handshakes) - self.looks.first().map_or(0, |l| l.handshakes);
        count as f64 / self.size as f64
    }

    /// Seconds on a CPU of Fairlead.
    pub fn cpu(&self) -> f64 {
        self.looks.last().map_or(0.0, |l| l.cpu)
    }

    /// Whole seconds in which Fairlead had so many CPUs or more.
    pub fn seconds_above(&self, cpus: f64) -> f64 {
        let end = self.looks.last().map_or(0.0, |l| l.at);
        let mut above = 0.0;
        let mut from = 0;
        for (i, look) in self.looks.iter().enumerate() {
            let sooner = &self.looks[from];
            if look.at - sooner.at >= 1.0 || (look.at >= end && i > from) {
                if look.cpu - sooner.cpu >= cpus * (look.at - sooner.at) {
                    above += look.at - sooner.at;
                }
                from = i;
            }
        }
        above
    }

    fn most(&self, between: impl Fn(&Look, &Look) -> f64) -> f64 {
        let mut most = 0.0_f64;
        for (i, sooner) in self.looks.iter().enumerate() {
            if let Some(later) = self.looks[i..].iter().rfind(|later| later.at - sooner.at <= 1.0) {
                most = most.max(between(later, sooner));
            }
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_is_told_by_share_by_second_and_by_cpu() {
        let look = |at, registered, handshakes, cpu| Look { at, registered, handshakes, cpu };
        let looks = vec![look(0.0, 0, 5, 0.0), look(0.5, 2, 9, 0.9), look(1.0, 3, 10, 1.9), look(2.0, 4, 11, 2.0)];
        let seen = Seen { looks, size: 4, crowd_cpu: 0.0 };
        assert_eq!((seen.share(0.5), seen.share(1.0), seen.share(0.75)), (0.5, 2.0, 1.0));
        assert_eq!((seen.most_handshakes(), seen.handshakes_each()), (5.0, 1.5));
        assert_eq!(seen.seconds_above(1.8), 1.0);
    }
}
