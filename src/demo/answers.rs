//! Answers in the shapes of Clouddriver.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, SERVER};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use super::accounts::Revision;

pub(super) type Http = Response<Full<Bytes>>;

const NOT_FOUND: &str = "com.netflix.spinnaker.kork.web.exceptions.NotFoundException";
const INVALID: &str = "com.netflix.spinnaker.kork.web.exceptions.InvalidRequestException";

fn response(status: StatusCode, body: String, json: bool) -> Http {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    // Clouddriver itself sends no Server header: whoever looks at the wire sees that this is not it.
    answer.headers_mut().insert(SERVER, HeaderValue::from_static("fairlead-stand-in"));
    if json {
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
    }
    answer
}

pub(super) fn ok(json: String) -> Http {
    response(StatusCode::OK, json, true)
}

pub(super) fn empty(status: StatusCode) -> Http {
    response(status, String::new(), false)
}

pub(super) fn error(status: StatusCode, exception: &str, message: &str) -> Http {
    let body = json!({
        "error": status.canonical_reason().unwrap_or_default(), "exception": exception, "message": message, "status": status.as_u16(),
    });
    response(status, body.to_string(), true)
}

pub(super) fn unknown_account(name: &str) -> Http {
    error(StatusCode::NOT_FOUND, NOT_FOUND, &format!("No account found with name {name}"))
}

pub(super) fn invalid(message: &str) -> Http {
    error(StatusCode::BAD_REQUEST, INVALID, message)
}

pub(super) fn duplicate(name: &str) -> Http {
    error(
        StatusCode::INTERNAL_SERVER_ERROR,
        "org.springframework.dao.DataIntegrityViolationException",
        &format!("Duplicate entry '{name}' for key 'PRIMARY'"),
    )
}

pub(super) fn broken_commit(definition: &str) -> Http {
    error(
        StatusCode::BAD_REQUEST,
        "com.netflix.spinnaker.clouddriver.sql.security.SqlAccountDefinitionException",
        &format!("Cannot create account with definition {definition}"),
    )
}

pub(super) fn failed(exception: &str) -> Http {
    error(StatusCode::INTERNAL_SERVER_ERROR, exception, "Internal Server Error")
}

pub(super) fn history(revisions: &[Revision]) -> Http {
    let entries: Vec<String> = revisions
        .iter()
        .map(|r| match &r.body {
            Some(body) => format!(r#"{{"account":{body},"timestamp":{},"version":{}}}"#, r.timestamp, r.version),
            None => format!(r#"{{"timestamp":{},"version":{}}}"#, r.timestamp, r.version),
        })
        .collect();
    ok(format!("[{}]", entries.join(",")))
}
