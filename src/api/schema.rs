//! Shapes of bodies, for the OpenAPI document. What is read is read by [`super::body`], what is shown is made by [`super::view`]; the tests
//! hold both to this.
#![allow(dead_code, reason = "only their shapes are used")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoResponses, ToSchema};

/// What went wrong, in the shape of Spinnaker's own errors.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ErrorBody {
    /// Epoch milliseconds.
    timestamp: i64,
    status: u16,
    error: String,
    exception: String,
    /// In words; each fault of a body by its place.
    message: String,
}

/// An account to be taken over from Clouddriver.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AddAgentAccountRequest {
    #[schema(min_length = 1, max_length = 255, example = "account-01")]
    name: String,
    /// Only agents of this zone may have it.
    #[schema(min_length = 1, max_length = 255)]
    zone_id: Option<String>,
    /// A reference, for agents that cannot use the account's own kubeconfig.
    #[schema(min_length = 1)]
    kubeconfig_file: Option<String>,
    /// Another spelling of kubeconfigFile.
    #[schema(min_length = 1, deprecated)]
    #[serde(rename = "kubeConfigFile")]
    kube_config_file: Option<String>,
    #[schema(min_length = 1)]
    kubeconfig_contents: Option<String>,
    service_account: Option<bool>,
    /// Means nothing here.
    state: Option<String>,
}

/// What is wanted of an account.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ChangeAgentAccountRequest {
    #[schema(min_length = 1, max_length = 255, example = "account-02")]
    name: String,
    state: WantedState,
    #[schema(min_length = 1, max_length = 255)]
    zone_id: Option<String>,
    #[schema(min_length = 1)]
    kubeconfig_file: Option<String>,
    /// Another spelling of kubeconfigFile.
    #[schema(min_length = 1, deprecated)]
    #[serde(rename = "kubeConfigFile")]
    kube_config_file: Option<String>,
    #[schema(min_length = 1)]
    kubeconfig_contents: Option<String>,
    service_account: Option<bool>,
}

/// The state that is wanted.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum WantedState {
    Active,
    Inactive,
}

/// A definition: a name and attributes of an agent's account.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DynamicAccount {
    #[schema(min_length = 1, max_length = 255)]
    name: String,
    #[serde(rename = "type")]
    kind: Option<AccountType>,
    #[schema(min_length = 1, max_length = 255)]
    zone_id: Option<String>,
    #[schema(min_length = 1)]
    kubeconfig_file: Option<String>,
    /// Another spelling of kubeconfigFile.
    #[schema(min_length = 1, deprecated)]
    #[serde(rename = "kubeConfigFile")]
    kube_config_file: Option<String>,
    #[schema(min_length = 1)]
    kubeconfig_contents: Option<String>,
    /// Another kubeconfig for an agent that has the account already.
    #[schema(min_length = 1)]
    kubeconfig_agent: Option<String>,
    service_account: Option<bool>,
    #[schema(min_length = 1)]
    service_account_name: Option<String>,
    #[schema(min_length = 1)]
    context: Option<String>,
    insecure: Option<bool>,
    no_proxy: Option<bool>,
    #[serde(rename = "oAuthScopes")]
    oauth_scopes: Option<Vec<String>>,
    /// Lists of roles by READ, WRITE, EXECUTE or CREATE, or a list of such objects.
    permissions: Option<Value>,
    namespaces: Option<Vec<String>>,
    omit_namespaces: Option<Vec<String>>,
    only_namespaced_resources: Option<bool>,
    /// Objects with `kind` and `scope`.
    custom_resource_definitions: Option<Value>,
    kinds: Option<Vec<String>>,
    omit_kinds: Option<Vec<String>>,
    metrics: Option<bool>,
    only_spinnaker_managed: Option<bool>,
    #[schema(minimum = 0)]
    max_resumable_resource_age_ms: Option<i64>,
    skip_server_side_apply: Option<bool>,
}

/// The one type there is.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum AccountType {
    Kubernetes,
}

/// Accounts to be taken over.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(min_items = 1, max_items = 10000)]
pub(super) struct AddBatch(Vec<AddAgentAccountRequest>);

/// What is wanted of several.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(min_items = 1, max_items = 10000)]
pub(super) struct ChangeBatch(Vec<ChangeAgentAccountRequest>);

/// Several definitions.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(min_items = 1, max_items = 10000)]
pub(super) struct DynamicBatch(Vec<DynamicAccount>);

/// Names of accounts, each once.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(min_items = 1, max_items = 10000)]
pub(super) struct Names(Vec<String>);

/// One definition, or several.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum DynamicAccounts {
    One(Box<DynamicAccount>),
    Many(DynamicBatch),
}

/// An entry that was not taken: its own fields, secrets masked, and why.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct NotTaken {
    name: String,
    message: String,
}

/// An account. One that only Clouddriver has shows no status, nor what goes with it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Account {
    name: String,
    #[serde(rename = "type")]
    kind: AccountType,
    /// `clouddriver` or `static-agent-config`.
    source: String,
    /// interceptor, scanner, migrated, created or agent.
    #[serde(default)]
    origin: String,
    /// The definition with what is laid over it.
    config: Map<String, Value>,
    definition: Map<String, Value>,
    definition_as_string: String,
    def: String,
    /// Roles by what they permit.
    permissions: BTreeMap<String, Vec<String>>,
    agents: Vec<AgentOfAccount>,
    zone_id: Option<String>,
    /// The zone was found by asking all zones, not given.
    #[serde(default)]
    zone_found: bool,
    last_assignment_msg: Option<String>,
    #[serde(default)]
    connections: i64,
    #[serde(default)]
    properties: Map<String, Value>,
    #[serde(default)]
    properties_as_string: String,
    #[serde(default)]
    props: String,
    kube_host: Option<String>,
    kube_version: Option<String>,
    cert_fingerprint: Option<String>,
    /// Epoch milliseconds.
    last_updated: Option<i64>,
    /// The contract's name; milliseconds.
    max_watch_age_seconds: Option<i64>,
    dynamic: Option<bool>,
    /// INACTIVE, TO_MIGRATE, ACTIVATING, ACTIVE, FAILED, ORPHANED, TO_DEACTIVATE, DEACTIVATING, DELETING or DELETE_FAILED.
    status: Option<String>,
    error_message: Option<String>,
    #[serde(default)]
    retry_count: i64,
}

/// Nothing.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NoAccount {}

/// The account, or an empty object.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub(super) enum AccountOrNone {
    Some(Box<Account>),
    None(NoAccount),
}

/// An agent that has an account.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AgentOfAccount {
    agent_id: String,
    caching: bool,
}

/// Some accounts.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AccountPage {
    items: Vec<Account>,
    page: i64,
    limit: i64,
    total: i64,
}

/// An agent that is connected.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ArmoryAgentResponse {
    accounts: Vec<String>,
    agent_id: String,
    /// It watches at least one of them.
    caching: bool,
    /// The replica that holds its connection.
    clouddriver_id: String,
    /// ISO 8601 with milliseconds, UTC.
    last_connection: String,
    #[serde(rename = "type")]
    kind: AccountType,
    /// Beyond the contract: accounts of this zone are its own.
    zone_id: String,
}

/// Who asks, and when; nothing depends on it.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DisconnectRequest {
    cluster_driven: Option<bool>,
    origin: Option<String>,
    #[schema(minimum = 0)]
    timestamp: Option<i64>,
}

/// What each operation may answer besides.
#[derive(IntoResponses)]
pub(super) enum Besides {
    /// It is not known; the log says more.
    #[response(status = 500)]
    Internal(ErrorBody),
    /// The database or Clouddriver's accounts cannot be asked now.
    #[response(status = 503)]
    Unavailable(ErrorBody),
    /// It took too long; it may have been done.
    #[response(status = 504)]
    TimedOut(ErrorBody),
}

/// And each operation on accounts.
#[derive(IntoResponses)]
pub(super) enum OfAccounts {
    /// `kubesvc.dynamicAccounts.enabled` is false.
    #[response(status = 501)]
    Off(ErrorBody),
}

/// And each with a body.
#[derive(IntoResponses)]
pub(super) enum WithBody {
    /// The body has faults, or none of its names is known.
    #[response(status = 400)]
    Faults(ErrorBody),
    /// It is above 4 MiB.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// It is not JSON in UTF-8, or coded.
    #[response(status = 415)]
    MediaType(ErrorBody),
}

/// And each with a name in its path.
#[derive(IntoResponses)]
pub(super) enum WithName {
    /// The name is not UTF-8, or not known.
    #[response(status = 400)]
    Name(ErrorBody),
    /// Not known, or a path that another server might read otherwise.
    #[response(status = 404)]
    Unknown(ErrorBody),
}
