//! Which requests are account changes: method and path, and nothing else. No header overrides a method.

use http::Method;

use crate::mirror;
use crate::proxy::path::{Route, Whose};

/// What the interceptor does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Straight on.
    Pass,
    /// Straight on; an answer of 2xx means that Clouddriver reads more into it than we do.
    Watch,
    /// An account change, with the name in its path.
    Change(mirror::Method, Option<String>),
    /// Fairlead's own path. It never comes so far when the layers are stacked as they should be, and is never forwarded.
    Ours,
}

/// Decides by a method (case-sensitive) and a path.
///
/// A path that changes accounts with a method that today changes none is watched, unless that method is safe by definition.
pub fn kind(method: &Method, whose: Whose) -> Kind {
    match (whose, method.as_str()) {
        (Whose::Ours | Whose::OursDenied, _) => Kind::Ours,
        (Whose::Other, _) => Kind::Pass,
        (Whose::Change(Route::Collection), "POST") => Kind::Change(mirror::Method::Post, None),
        (Whose::Change(Route::Collection), "PUT") => Kind::Change(mirror::Method::Put, None),
        (Whose::Change(Route::Named(name)), "PUT") => Kind::Change(mirror::Method::PutNamed, name),
        (Whose::Change(Route::Named(name)), "DELETE") => Kind::Change(mirror::Method::Delete, name),
        (_, "GET" | "HEAD" | "OPTIONS" | "TRACE") => Kind::Pass,
        (Whose::Change(_) | Whose::Suspicious, _) => Kind::Watch,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::path::whose;

    fn of(method: &str, path: &str) -> Kind {
        kind(&Method::from_bytes(method.as_bytes()).unwrap(), whose(path.as_bytes(), ""))
    }

    #[test]
    fn four_calls_change_accounts() {
        let acc = || Some("acc".to_owned());
        assert_eq!(of("POST", "/credentials"), Kind::Change(mirror::Method::Post, None));
        assert_eq!(of("PUT", "/credentials/"), Kind::Change(mirror::Method::Put, None));
        assert_eq!(of("PUT", "/credentials/acc"), Kind::Change(mirror::Method::PutNamed, acc()));
        assert_eq!(of("DELETE", "/%63redentials/a%63c/"), Kind::Change(mirror::Method::Delete, acc()));
        assert_eq!(of("DELETE", "/credentials/type"), Kind::Change(mirror::Method::Delete, Some("type".to_owned())));
        assert_eq!(of("DELETE", "/credentials/history"), Kind::Change(mirror::Method::Delete, Some("history".to_owned())));
    }

    #[test]
    fn safe_methods_are_never_a_change() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
            for path in ["/credentials", "/credentials/acc", "//credentials"] {
                assert_eq!(of(method, path), Kind::Pass, "{method} {path}");
            }
        }
    }

    #[test]
    fn methods_that_clouddriver_refuses_today_are_watched_not_announced() {
        for method in ["post", "put", "Delete", "PATCH", "PROPFIND", "POSTX"] {
            assert_eq!(of(method, "/credentials"), Kind::Watch, "{method}");
            assert_eq!(of(method, "/credentials/acc"), Kind::Watch, "{method}");
        }
        assert_eq!(of("DELETE", "/credentials"), Kind::Watch);
        assert_eq!(of("POST", "/credentials/acc"), Kind::Watch);
        assert_eq!(of("POST", "//credentials"), Kind::Watch);
    }

    #[test]
    fn everything_else_passes_and_ours_never_does() {
        assert_eq!(of("DELETE", "/credentials/type/x"), Kind::Pass);
        assert_eq!(of("POST", "/Credentials"), Kind::Pass);
        assert_eq!(of("POST", "/kubernetes/ops"), Kind::Pass);
        assert_eq!(of("GET", "/armory/accounts"), Kind::Ours);
        assert_eq!(of("POST", "//armory/accounts"), Kind::Ours);
    }
}
