//! Why an account cannot be had: a class that Fairlead acts on, and words for an operator.

/// Why an account cannot be had. Holds no secret: its words are made here, of names and causes, never of what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub reason: Reason,
    /// What was tried, at which host, the cause, what to do.
    pub message: String,
    /// The host that was tried, where there is one.
    pub host: Option<String>,
}

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The definition or its kubeconfig cannot be used.
    Definition,
    /// The host's name is not known.
    Dns,
    /// Nobody listens there, or the way is blocked.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The certificate is not believed, ours or theirs.
    Tls,
    /// 401.
    Unauthenticated,
    /// 403 on everything.
    Forbidden,
    /// No Kubernetes API server, or a broken one.
    Server,
    /// The agent does not do such a thing.
    Unsupported,
    /// The agent's own fault.
    Internal,
    /// Nothing was tried: too much else is under way, or the agent is about to end.
    Busy,
}

impl Failure {
    /// One without a host.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), host: None }
    }

    /// The definition cannot be used.
    pub fn definition(message: impl Into<String>) -> Self {
        Self::new(Reason::Definition, message)
    }

    /// One at a host.
    pub fn at(reason: Reason, host: &str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), host: Some(host.to_owned()) }
    }
}
