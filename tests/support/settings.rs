//! Settings of parts that tests start without a configuration file.

use std::time::Duration;

use fairlead::config::{Deny, DenyAction, FailurePolicy, Interceptor};

/// On, and patient enough for a slow machine.
pub fn interceptor() -> Interceptor {
    Interceptor {
        enabled: true,
        activate: false,
        failure_policy: FailurePolicy::Ignore,
        max_wait: Duration::from_secs(5),
        max_wait_fail: Duration::from_secs(5),
        inspection_limit: 1 << 20,
        deny: Deny { fields: vec![], action: DenyAction::Warn },
        state_dir: None,
        spool_dir: None,
        unknown_outcome_window: Duration::from_secs(900),
    }
}
