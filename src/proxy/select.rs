//! Which requests somebody looks into. All others pass as bytes.

use std::sync::Arc;

use super::path::{Whose, whose};

/// Decides by method and path alone.
#[derive(Clone, Debug)]
pub struct Selector {
    /// `None`: everything is looked into.
    context_path: Option<Arc<str>>,
}

impl Selector {
    /// Account changes, our own paths, and what some server might take for either.
    pub fn new(context_path: Arc<str>) -> Self {
        Self { context_path: Some(context_path) }
    }

    /// Every request goes through the services.
    pub fn everything() -> Self {
        Self { context_path: None }
    }

    pub(super) fn takes(&self, method: &[u8], path: &[u8]) -> bool {
        let Some(context_path) = &self.context_path else { return true };
        match whose(path, context_path) {
            Whose::Other => false,
            Whose::Ours | Whose::OursDenied => true,
            Whose::Change(_) | Whose::Suspicious => !matches!(method, b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_nothing_and_is_not_ours_passes_as_bytes() {
        let selector = Selector::new("".into());
        for (method, path, taken) in [
            ("GET", "/credentials", false),
            ("POST", "/credentials", true),
            ("DELETE", "//credentials/x", true),
            ("GET", "/applications/x", false),
            ("POST", "/kubernetes/ops", false),
            ("GET", "/armory/accounts", true),
            ("GET", "//armory/accounts", true),
        ] {
            assert_eq!(selector.takes(method.as_bytes(), path.as_bytes()), taken, "{method} {path}");
        }
        assert!(Selector::everything().takes(b"GET", b"/"));
    }
}
