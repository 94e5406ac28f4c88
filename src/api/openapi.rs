//! The OpenAPI document of the API, made from the operations and the types beside them: `GET /armory/openapi.json`.
//!
//! `make test` holds it against what is really answered: `scripts/schemathesis.sh`.

use std::sync::LazyLock;

use axum::response::IntoResponse;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use utoipa::OpenApi;

use super::{agents, read, write};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Fairlead",
        description = "Accounts and agents. Everything else on this port is Clouddriver's.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/")),
    paths(
        read::list,
        read::one,
        read::handled,
        read::namespaces,
        write::take,
        write::change,
        write::change_dynamic,
        write::delete,
        write::delete_one,
        write::create,
        write::update,
        write::assign,
        agents::list,
        agents::one,
        agents::disconnect,
        document,
    )
)]
struct Document;

static JSON: LazyLock<Bytes> = LazyLock::new(|| Document::openapi().to_json().unwrap_or_default().into());

/// `GET /armory/openapi.json`.
#[utoipa::path(get, path = "/armory/openapi.json", tag = "document", responses((status = 200, description = "This document", body = serde_json::Value)))]
pub(super) async fn document() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], JSON.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn the_document_names_each_operation_of_the_contract_that_is_built() {
        let document: Value = serde_json::from_slice(&JSON).expect("JSON");
        assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")), "{}", document["openapi"]);
        for (path, methods) in [
            ("/armory/accounts", "get post patch delete"),
            ("/armory/accounts/{name}", "get delete"),
            ("/armory/accounts/dynamic", "post put patch"),
            ("/agents/kubernetes/accounts/{name}", "get"),
            ("/agents/kubernetes/accounts/{name}/namespaces", "get"),
            ("/armory/agents", "get"),
            ("/armory/agents/{id}", "get"),
            ("/armory/agent/{id}/disconnect", "post"),
            ("/armory/agent/assignments", "post"),
        ] {
            for method in methods.split(' ') {
                assert!(document["paths"][path][method].is_object(), "{method} {path}");
            }
        }
    }
}
