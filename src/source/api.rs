//! To come.
use super::{Error, Page, Reading, SourceInfo};
use crate::config::Clouddriver;

/// Where Clouddriver is, and as whom it is asked.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Host.
    pub host: std::sync::Arc<str>,
    /// Port.
    pub port: u16,
    /// Prefix of a deployment.
    pub context_path: std::sync::Arc<str>,
    /// Sent as `X-SPINNAKER-USER`.
    pub user: Option<String>,
}

impl ApiConfig {
    /// From the settings.
    pub fn new(clouddriver: &Clouddriver, user: Option<String>) -> Self {
        Self { host: clouddriver.host.clone(), port: clouddriver.port, context_path: clouddriver.context_path.clone(), user }
    }
}

/// Clouddriver's API.
#[derive(Clone, Debug)]
pub struct Api {
    config: ApiConfig,
}

impl Api {
    /// Opens no connection yet.
    pub fn new(config: ApiConfig) -> Self {
        Self { config }
    }
    fn todo(&self) -> Error {
        Error::Api { hop: self.config.host.to_string(), reason: "not built".into() }
    }
    #[allow(clippy::unused_async)]
    pub(super) async fn read(&self, _: &str) -> Result<Reading, Error> {
        Err(self.todo())
    }
    #[allow(clippy::unused_async)]
    pub(super) async fn page(&self, _: Option<&str>, _: u32) -> Result<Page, Error> {
        Err(self.todo())
    }
    #[allow(clippy::unused_async)]
    pub(super) async fn check(&self) -> Result<SourceInfo, Error> {
        Err(self.todo())
    }
}
