//! `page` and `limit` of a list.

use super::error::ApiError;

/// Most items of one page.
pub(super) const MAX_LIMIT: u32 = 1000;
const DEFAULT_LIMIT: u32 = 100;

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paging {
    /// From 1.
    pub page: u32,
    /// 1 to [`MAX_LIMIT`].
    pub limit: u32,
}

impl Paging {
    /// From the raw query; parameters that are not ours are passed over, as Spring does.
    pub(super) fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        Ok(Self { page: number(query, "page", 1, u32::MAX)?, limit: number(query, "limit", DEFAULT_LIMIT, MAX_LIMIT)? })
    }
}

fn number(query: Option<&str>, name: &'static str, default: u32, max: u32) -> Result<u32, ApiError> {
    let mut values = query.unwrap_or_default().split('&').filter_map(|pair| match pair.split_once('=') {
        Some((n, v)) if n == name => Some(v),
        None if pair == name => Some(""),
        _ => None,
    });
    let bad = || ApiError::Parameter { name, wanted: format!("must be given once, as a whole number from 1 to {max}") };
    match (values.next(), values.next()) {
        (None, _) => Ok(default),
        (Some(v), None) if !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()) => {
            v.parse().ok().filter(|n| (1..=max).contains(n)).ok_or_else(bad)
        }
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_has_its_default() {
        for query in [None, Some(""), Some("other=1&PAGE=9")] {
            assert_eq!(Paging::parse(query).ok(), Some(Paging { page: 1, limit: 100 }), "{query:?}");
        }
        assert_eq!(Paging::parse(Some("limit=1000&page=4294967295")).ok(), Some(Paging { page: u32::MAX, limit: 1000 }));
    }

    #[test]
    fn a_bad_value_is_refused_with_the_parameters_name_and_without_the_value() {
        for query in [
            "page=0",
            "page=-1",
            "page=canary",
            "page=1.5",
            "page=",
            "page",
            "page=1&page=2",
            "page=4294967296",
            "page=%31",
            "page=+1",
            "page= 1",
        ] {
            let text = Paging::parse(Some(query)).expect_err(query).to_string();
            assert!(text.starts_with("query parameter page: ") && !text.contains("canary"), "{query}: {text}");
        }
        for query in ["limit=0", "limit=1001"] {
            let text = Paging::parse(Some(query)).expect_err(query).to_string();
            assert!(text.contains("limit") && text.contains("1000"), "{query}: {text}");
        }
    }
}
