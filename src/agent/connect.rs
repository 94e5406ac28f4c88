//! Session after session, with pauses between them.

use std::time::Duration;

use tracing::{info, warn};

use super::session::{self, End};
use super::{Context, zone};
use crate::config::agent::{Backoff, Settings};
use crate::wire::FarewellReason;

/// A session that lasted so long was a good one: what went wrong before is forgotten.
const GOOD: Duration = Duration::from_secs(10);

/// Keeps the agent connected until it is to end.
pub(super) async fn run(context: &Context) {
    let mut settings = context.settings.clone();
    let mut attempt = 0;
    loop {
        let now = settings.borrow_and_update().clone();
        let identity = tokio::select! {
            identity = zone::identity(context, &now) => identity,
            () = context.stop.cancelled() => return,
        };
        let session = session::run(context, &identity, &now.control);
        let mut session = std::pin::pin!(session);
        let (end, lasted) = tokio::select! {
            biased;
            ended = &mut session => ended,
            () = not_even_connected(context) => return,
        };
        if lasted >= GOOD {
            attempt = 0;
        }
        let pause = match after(&end, attempt, &now) {
            Some(pause) => pause,
            None => return,
        };
        attempt += 1;
        told(context, &end, pause);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = context.stop.cancelled() => return,
            changed = settings.changed() => if changed.is_err() { return },
        }
    }
}

/// A session that is registered sees the end itself; one that is not yet is dropped.
async fn not_even_connected(context: &Context) {
    context.stop.cancelled().await;
    if context.status.get().is_ok() {
        std::future::pending::<()>().await;
    }
}

fn told(context: &Context, end: &End, pause: Duration) {
    let again = format!("next attempt in {:.1} s", pause.as_secs_f64());
    let why = match end {
        End::NotBegun(why) | End::Lost(why) => why.clone(),
        End::Farewell(farewell) => {
            let text: String = farewell.message.chars().filter(|c| !c.is_control()).take(500).collect();
            format!("Fairlead ended the session ({}): {text}", farewell.reason().as_str_name().trim_start_matches("FAREWELL_REASON_"))
        }
        End::Changed => return info!("the configuration has changed: connecting anew"),
        End::Left => return,
    };
    warn!("{why}; {again}");
    context.status.trouble(why);
}

/// How long to wait. `None`: no further session.
fn after(end: &End, attempt: u32, settings: &Settings) -> Option<Duration> {
    let backoff = &settings.control.backoff;
    let bound = match end {
        End::Left => return None,
        End::Changed => return Some(Duration::ZERO),
        End::NotBegun(_) => bound(backoff, attempt),
        // The first attempt after a good session: spread, so that a restart of Fairlead does not bring all agents at once.
        End::Lost(_) if attempt == 0 => settings.control.reconnect,
        End::Lost(_) => bound(backoff, attempt).max(settings.control.reconnect),
        End::Farewell(farewell) => {
            let asked = Duration::from_millis(farewell.retry_after_ms.into());
            let bound = match farewell.reason() {
                // Another of the same name: they would take turns.
                FarewellReason::TakenOver | FarewellReason::Refused => backoff.most,
                _ => bound(backoff, attempt).max(settings.control.reconnect),
            };
            return Some(asked + anywhere_below(bound));
        }
    };
    Some(anywhere_below(bound))
}

/// The most that is waited before an attempt.
fn bound(backoff: &Backoff, attempt: u32) -> Duration {
    let factor = (f64::from(backoff.multiplier) / 1_000.0).powi(i32::try_from(attempt).unwrap_or(i32::MAX));
    let seconds = (backoff.base.as_secs_f64() * factor).min(backoff.most.as_secs_f64());
    Duration::from_secs_f64(seconds)
}

fn anywhere_below(bound: Duration) -> Duration {
    bound.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::agent::load_text;
    use crate::wire::Farewell;

    #[test]
    fn pauses_grow_to_their_bound_and_are_random_below_it() {
        let backoff = Backoff { base: Duration::from_secs(1), multiplier: 1_600, most: Duration::from_secs(120) };
        let bounds: Vec<f64> = [0, 1, 2, 10, 11, 1_000_000].iter().map(|a| bound(&backoff, *a).as_secs_f64()).collect();
        assert!((bounds[0] - 1.0).abs() < 1e-9 && (bounds[1] - 1.6).abs() < 1e-9 && (bounds[2] - 2.56).abs() < 1e-9, "{bounds:?}");
        assert!(bounds[3] < 120.0 && bounds[4] >= 120.0 && bounds[5] <= 120.0, "{bounds:?}");
        let pauses: Vec<Duration> = (0..1_000).map(|_| anywhere_below(Duration::from_secs(120))).collect();
        let below = |seconds| pauses.iter().filter(|p| p.as_secs() < seconds).count();
        // Full jitter: no part of the time is left out.
        assert!((150..350).contains(&below(30)) && (350..650).contains(&below(60)) && below(120) == 1_000, "{pauses:?}");
    }

    #[test]
    fn a_farewell_is_waited_for_at_least_as_long_as_it_asks() {
        let settings = load_text("", &[]).unwrap().settings;
        for reason in [FarewellReason::Shutdown, FarewellReason::Overloaded, FarewellReason::TakenOver, FarewellReason::Refused] {
            let farewell = Farewell { reason: reason as i32, message: String::new(), retry_after_ms: 7_000 };
            assert!(after(&End::Farewell(farewell), 0, &settings).unwrap() >= Duration::from_secs(7));
        }
    }
}
