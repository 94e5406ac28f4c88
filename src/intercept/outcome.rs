//! What Clouddriver's answer proves about a change.
//!
//! Only a closed list of answers proves that nothing was stored; everything that is not on it is *unknown*, and the row will tell.
//! The newer Clouddriver answers 400 after a commit whose connection broke, so a 4xx as such proves nothing.

use http::{HeaderMap, StatusCode};

use super::hints;
use crate::mirror::Outcome;
use crate::proxy::media::{self, Media};

/// Exceptions behind a 400 that Clouddriver throws before it calls its repository, so that nothing can have been stored. Compared
/// with the whole class name, since their subclasses (`SqlAccountDefinitionException` is a 400 too) are thrown after a write.
///
/// - `InvalidRequestException`: Clouddriver's account service checks a request (the account exists already, or not yet; path and
///   body name different accounts; the caller would lock himself out; a secret cannot be resolved) before it writes, and throws
///   nothing afterwards.
/// - `ConfigurationException`: account storage is switched off, there is nothing to write to.
///
/// `UserException` and `IllegalArgumentException` are 400 as well, and left out: anything may throw them at any time.
const REFUSALS: [&str; 2] =
    ["com.netflix.spinnaker.kork.web.exceptions.InvalidRequestException", "com.netflix.spinnaker.kork.exceptions.ConfigurationException"];

/// What the head of an answer proves by itself. `None`: its body is needed, see [`with_body`].
pub fn at_head(status: StatusCode, headers: &HeaderMap, body_is_empty: bool) -> Option<Outcome> {
    match status.as_u16() {
        200..=299 => Some(Outcome::Ok),
        401 | 403 | 404 | 405 | 406 | 411 | 413 | 415 => Some(Outcome::Refused),
        400 if body_is_empty || Media::of(headers).essence == "application/problem+json" => Some(Outcome::Refused),
        400 if media::is_coded(headers) => Some(Outcome::Unknown),
        400 => None,
        _ => Some(Outcome::Unknown),
    }
}

/// What an answer proves whose head left it open. `body` is all of it, or nothing where it was too long or broke off.
pub fn with_body(status: StatusCode, headers: &HeaderMap, body: Option<&[u8]>) -> Outcome {
    let Some(body) = body else {
        return at_head(status, headers, false).unwrap_or(Outcome::Unknown);
    };
    at_head(status, headers, body.is_empty()).unwrap_or_else(|| match hints::property(body, "exception") {
        Some(exception) if REFUSALS.contains(&exception.as_str()) => Outcome::Refused,
        _ => Outcome::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    fn headers(content_type: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers
    }

    fn of(status: u16, content_type: &'static str, body: &str) -> Outcome {
        with_body(StatusCode::from_u16(status).unwrap(), &headers(content_type), Some(body.as_bytes()))
    }

    #[test]
    fn every_status_has_its_outcome_and_what_is_not_listed_is_unknown() {
        for status in 100..1000u16 {
            let expected = match status {
                200..=299 => Outcome::Ok,
                401 | 403 | 404 | 405 | 406 | 411 | 413 | 415 => Outcome::Refused,
                _ => Outcome::Unknown,
            };
            assert_eq!(of(status, "application/json", "{}"), expected, "{status}");
            let early = at_head(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), false);
            assert_eq!(early, (status != 400).then_some(expected), "{status} at its head");
        }
    }

    #[test]
    fn a_400_is_a_refusal_only_where_it_says_why() {
        let invalid = r#"{"exception":"com.netflix.spinnaker.kork.web.exceptions.InvalidRequestException","message":"m","status":400}"#;
        let table: &[(&str, &str, Outcome)] = &[
            ("text/plain", "", Outcome::Refused),
            ("application/problem+json", r#"{"status":400}"#, Outcome::Refused),
            ("application/problem+json;charset=UTF-8", "{", Outcome::Refused),
            ("application/json", invalid, Outcome::Refused),
            ("application/json;charset=UTF-8", invalid, Outcome::Refused),
            ("application/json", r#"{"exception":"com.netflix.spinnaker.kork.exceptions.ConfigurationException"}"#, Outcome::Refused),
            (
                "application/json",
                r#"{"exception":"com.netflix.spinnaker.clouddriver.sql.security.SqlAccountDefinitionException"}"#,
                Outcome::Unknown,
            ),
            ("application/json", r#"{"exception":"SqlAccountDefinitionException"}"#, Outcome::Unknown),
            ("application/json", r#"{"exception":"InvalidRequestException"}"#, Outcome::Unknown),
            ("application/json", r#"{"exception":"java.lang.IllegalArgumentException"}"#, Outcome::Unknown),
            ("application/json", r#"{"exception":"com.netflix.spinnaker.kork.exceptions.UserException"}"#, Outcome::Unknown),
            ("application/json", r#"{"error":"Bad Request","message":"Cannot create an account which already exists"}"#, Outcome::Unknown),
            ("application/json", "not json", Outcome::Unknown),
            ("text/html", "<html>HTTP Status 400</html>", Outcome::Unknown),
            ("application/xml", "<e><exception>x</exception></e>", Outcome::Unknown),
        ];
        for (content_type, body, expected) in table {
            assert_eq!(of(400, content_type, body), *expected, "{content_type} {body}");
        }
    }

    #[test]
    fn a_400_whose_body_was_not_seen_whole_or_is_coded_is_unknown() {
        assert_eq!(with_body(StatusCode::BAD_REQUEST, &headers("application/json"), None), Outcome::Unknown);
        let mut coded = headers("application/json");
        coded.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(at_head(StatusCode::BAD_REQUEST, &coded, false), Some(Outcome::Unknown));
        assert_eq!(at_head(StatusCode::BAD_REQUEST, &coded, true), Some(Outcome::Refused));
        assert_eq!(at_head(StatusCode::BAD_REQUEST, &headers("application/problem+json"), false), Some(Outcome::Refused));
    }
}
