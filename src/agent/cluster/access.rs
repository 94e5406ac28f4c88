//! The way to a cluster: a kubeconfig judged and turned into a target and credentials.
//!
//! A kubeconfig that came from Fairlead was written by somebody else than the agent's operator, and it would be followed with the
//! agent's own rights: so what makes the agent run programs, read its own disk or go by other ways is refused unless a setting allows it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{AuthInfo, Cluster as ClusterEntry, Kubeconfig, KubeconfigError};
use rustls::pki_types::ServerName;
use secrecy::{ExposeSecret as _, SecretString};

use super::{Definition, Ways};
use crate::agent::dial::Target;
use crate::agent::failure::{Failure, Reason};
use crate::config::agent::{ProxyUrl, StaticAccount};
use crate::tls::client::{Client, Trust};
use crate::tls::{Pem, Role};

/// What the API server may speak, the best first.
const ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// How a cluster is reached and with what.
pub(crate) struct Access {
    /// The account's name.
    pub(crate) name: Arc<str>,
    /// The API server's URL, without credentials.
    pub(crate) host: String,
    /// Where connections go.
    pub(crate) target: Target,
    /// What every path begins with.
    pub(crate) prefix: String,
    /// What is shown with each request.
    pub(crate) credentials: Credentials,
    /// The account's only namespaces; none: all.
    pub(crate) namespaces: Vec<String>,
}

/// What is shown with each request, beside a certificate.
pub(crate) enum Credentials {
    /// Nothing: there is a certificate.
    Certificate,
    /// Nothing, and there is no certificate either.
    Nothing,
    /// `Bearer`.
    Token(SecretString),
    /// `Bearer`, read anew each time: service account tokens are exchanged.
    TokenFile(PathBuf),
    /// `Basic`, before its base64.
    Basic(SecretString),
}

impl Access {
    /// Judges a definition. Reads files, so it does not belong on a thread of the runtime.
    ///
    /// # Errors
    /// What cannot be used or is refused, and what to give instead.
    pub(crate) fn of(definition: &Definition, ways: Ways<'_>) -> Result<Self, Failure> {
        if definition.account.service_account {
            return in_cluster(&definition.account, ways);
        }
        let name = Arc::clone(&definition.account.name);
        let text = definition.kubeconfig(ways.kubernetes.allow.files)?;
        let kubeconfig = parse(&name, text.expose_secret())?;
        let (cluster, user) = chosen(&name, &kubeconfig, definition.account.context.as_deref())?;
        let base = definition.account.kubeconfig_file.as_deref().and_then(Path::parent);
        let judge = Judge { name: &name, files: !definition.dynamic || ways.kubernetes.allow.files, base };
        judge.user(user)?;
        let address = Address::parse(&name, cluster.server.as_deref().unwrap_or_default())?;
        let proxy = match cluster.proxy_url.as_deref().filter(|p| !p.is_empty()) {
            Some(_) if !ways.kubernetes.allow.proxy_url => {
                return Err(
                    judge.unsupported("a proxy-url", "kubernetes.allowProxyUrl lets it be; HTTPS_PROXY of the agent is used without")
                );
            }
            Some(url) => Some(ProxyUrl::parse(url).map_err(|why| judge.definition(&format!("has a proxy-url that {why}")))?),
            None if definition.account.no_proxy || ways.kubernetes.no_proxy => None,
            None => ways.surroundings.proxy_to(address.tls, &address.host, address.port).cloned(),
        };
        let own = judge.identity(user)?;
        let credentials = judge.credentials(user, own.is_some())?;
        let insecure = definition.account.insecure || cluster.insecure_skip_tls_verify == Some(true);
        let tls = if address.tls {
            let trust = if insecure { Trust::Anybody } else { judge.trust(cluster)? };
            let client = Client::new(trust, own, ALPN).map_err(|e| Failure::definition(format!("the kubeconfig of {name}: {e}")))?;
            let verified = cluster.tls_server_name.as_deref().filter(|n| !n.is_empty()).unwrap_or(&address.host);
            let verified = ServerName::try_from(verified.to_owned())
                .map_err(|_| judge.definition(&format!("names the server {verified}, which no certificate can be for")))?;
            Some((client, verified))
        } else {
            None
        };
        Ok(Self {
            name: Arc::clone(&name),
            host: address.shown(),
            target: Target { host: address.host.as_str().into(), port: address.port, tls, proxy, guarded: !ways.kubernetes.allow.metadata },
            prefix: address.prefix,
            credentials,
            namespaces: definition.account.namespaces.clone(),
        })
    }
}

/// The pod's own service account and cluster.
fn in_cluster(account: &StaticAccount, ways: Ways<'_>) -> Result<Access, Failure> {
    let name = &account.name;
    let folder = &ways.kubernetes.service_account;
    let missing = |what: &str| {
        Failure::definition(format!(
            "the account {name} uses the agent's service account, and {what}: run the agent in the cluster, with automountServiceAccountToken"
        ))
    };
    let (host, port) = ways.surroundings.api_server.clone().ok_or_else(|| missing("KUBERNETES_SERVICE_HOST is not set"))?;
    let token = folder.join("token");
    if !token.is_file() {
        return Err(missing(&format!("there is no {}", token.display())));
    }
    let trust = Pem::read(Role::Trust, &folder.join("ca.crt")).map_err(|e| missing(&e.to_string()))?;
    let client = Client::new(Trust::These(trust), None, ALPN).map_err(|e| missing(&e.to_string()))?;
    let verified = ServerName::try_from(host.clone()).map_err(|_| missing("KUBERNETES_SERVICE_HOST is no host"))?;
    let address = Address { tls: true, host, port, prefix: String::new() };
    let direct = account.no_proxy || ways.kubernetes.no_proxy;
    let proxy = if direct { None } else { ways.surroundings.proxy_to(true, &address.host, port).cloned() };
    Ok(Access {
        name: Arc::clone(name),
        host: address.shown(),
        target: Target { host: address.host.as_str().into(), port, tls: Some((client, verified)), proxy, guarded: false },
        prefix: String::new(),
        credentials: Credentials::TokenFile(token),
        namespaces: account.namespaces.clone(),
    })
}

/// The parser quotes what it does not understand, so only its place is told.
fn parse(name: &str, text: &str) -> Result<Kubeconfig, Failure> {
    Kubeconfig::from_yaml(text).map_err(|e| {
        let place = match &e {
            KubeconfigError::Parse(e) => e.location().map(|l| format!(" (line {}, column {})", l.line(), l.column())),
            _ => None,
        };
        Failure::definition(format!("the kubeconfig of {name} cannot be read{}: is it a kubeconfig in YAML?", place.unwrap_or_default()))
    })
}

fn chosen<'a>(name: &str, all: &'a Kubeconfig, context: Option<&'a str>) -> Result<(&'a ClusterEntry, &'a AuthInfo), Failure> {
    let wrong = |why: String| Failure::definition(format!("the kubeconfig of {name} {why}"));
    let wanted = match context.or(all.current_context.as_deref()).filter(|c| !c.is_empty()) {
        Some(wanted) => wanted,
        None if all.contexts.len() == 1 => all.contexts[0].name.as_str(),
        None => return Err(wrong("has no current-context, and the account names no context".into())),
    };
    let entry = all.contexts.iter().find(|c| c.name == wanted).and_then(|c| c.context.as_ref());
    let entry = entry.ok_or_else(|| wrong(format!("has no context {wanted}")))?;
    let cluster = all.clusters.iter().find(|c| c.name == entry.cluster).and_then(|c| c.cluster.as_ref());
    let cluster = cluster.ok_or_else(|| wrong(format!("has no cluster {}, which its context {wanted} names", entry.cluster)))?;
    let user = entry.user.as_deref().unwrap_or_default();
    let user = all.auth_infos.iter().find(|u| u.name == user).and_then(|u| u.auth_info.as_ref());
    let user = user.ok_or_else(|| wrong(format!("has no user for its context {wanted}, or an empty one")))?;
    Ok((cluster, user))
}

/// Judges the parts of one kubeconfig.
struct Judge<'a> {
    name: &'a str,
    /// Paths may be followed.
    files: bool,
    /// What relative paths begin with.
    base: Option<&'a Path>,
}

impl Judge<'_> {
    fn definition(&self, why: &str) -> Failure {
        Failure::definition(format!("the kubeconfig of {} {why}", self.name))
    }

    fn unsupported(&self, what: &str, instead: &str) -> Failure {
        Failure::new(Reason::Unsupported, format!("the kubeconfig of {} has {what}, which is refused: {instead}", self.name))
    }

    /// What would make the agent run programs or act as somebody else.
    fn user(&self, user: &AuthInfo) -> Result<(), Failure> {
        let instead = "give a static token or a client certificate";
        if user.exec.is_some() {
            return Err(self.unsupported("an exec plugin, a program that the agent would have to run", instead));
        }
        if user.auth_provider.is_some() {
            return Err(self.unsupported("an auth-provider, which Kubernetes itself has given up", instead));
        }
        let acts_as = user.impersonate.is_some() || user.impersonate_uid.is_some() || user.impersonate_groups.is_some();
        if acts_as || user.impersonate_user_extra.is_some() {
            return Err(self.unsupported("an impersonation (as, as-groups)", "give the credentials of the one that is meant"));
        }
        Ok(())
    }

    /// PEM from `…-data`, or else from the file that is named.
    fn pem(&self, role: Role, key: &str, data: Option<&str>, path: Option<&str>) -> Result<Option<Pem>, Failure> {
        if let Some(data) = data.filter(|d| !d.is_empty()) {
            let packed: String = data.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            let bytes = STANDARD.decode(packed).map_err(|_| self.definition(&format!("has a {key}-data that is not base64")))?;
            return Ok(Some(Pem::of(role, &format!("{key}-data"), bytes)));
        }
        let Some(path) = path.filter(|p| !p.is_empty()) else { return Ok(None) };
        let path = self.path(key, path)?;
        Pem::read(role, &path).map(Some).map_err(|e| self.definition(&format!("names the file {e}")))
    }

    fn path(&self, key: &str, path: &str) -> Result<PathBuf, Failure> {
        if self.files {
            return Ok(self.base.map_or_else(|| PathBuf::from(path), |base| base.join(path)));
        }
        let instead = if key == "tokenFile" { "token".to_owned() } else { format!("{key}-data") };
        let instead = format!("give {instead} (kubernetes.allowFilePaths lets paths of the agent's disk be)");
        Err(self.unsupported(&format!("a path of a disk ({key})"), &instead))
    }

    fn trust(&self, cluster: &ClusterEntry) -> Result<Trust, Failure> {
        let data = cluster.certificate_authority_data.as_deref();
        let pem = self.pem(Role::Trust, "certificate-authority", data, cluster.certificate_authority.as_deref())?;
        Ok(pem.map_or(Trust::System, Trust::These))
    }

    fn identity(&self, user: &AuthInfo) -> Result<Option<(Pem, Pem)>, Failure> {
        let data = user.client_certificate_data.as_deref();
        let certificate = self.pem(Role::Certificate, "client-certificate", data, user.client_certificate.as_deref())?;
        let data = user.client_key_data.as_ref().map(|d| d.expose_secret());
        let key = self.pem(Role::Key, "client-key", data, user.client_key.as_deref())?;
        match (certificate, key) {
            (Some(certificate), Some(key)) => Ok(Some((certificate, key))),
            (None, None) => Ok(None),
            _ => Err(self.definition("has one of client-certificate-data and client-key-data: both are needed")),
        }
    }

    fn credentials(&self, user: &AuthInfo, certificate: bool) -> Result<Credentials, Failure> {
        if let Some(token) = user.token.as_ref().filter(|t| !t.expose_secret().is_empty()) {
            let token = token.expose_secret().trim();
            if !token.chars().all(|c| c.is_ascii_graphic()) {
                return Err(self.definition("has a token that holds blanks or line breaks"));
            }
            return Ok(Credentials::Token(token.to_owned().into()));
        }
        if let Some(file) = user.token_file.as_deref().filter(|f| !f.is_empty()) {
            return Ok(Credentials::TokenFile(self.path("tokenFile", file)?));
        }
        match (&user.username, &user.password) {
            (Some(name), Some(password)) => Ok(Credentials::Basic(format!("{name}:{}", password.expose_secret()).into())),
            _ if certificate => Ok(Credentials::Certificate),
            _ => Ok(Credentials::Nothing),
        }
    }
}

/// The API server's URL.
struct Address {
    tls: bool,
    host: String,
    port: u16,
    prefix: String,
}

impl Address {
    fn parse(name: &str, text: &str) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::definition(format!("the kubeconfig of {name} has a server that {why}"));
        if text.is_empty() {
            return Err(wrong("is not there: give https://host:port"));
        }
        let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = url::Url::parse(&with_scheme).map_err(|_| wrong("is no URL: give https://host:port"))?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("is no https URL: give https://host:port")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("holds a user or a password: give them as the kubeconfig's user"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("holds a query or a fragment: leave it out"));
        }
        let host = url.host_str().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host).to_owned();
        let port = url.port_or_known_default().filter(|p| *p != 0).ok_or_else(|| wrong("has port 0"))?;
        if host.is_empty() {
            return Err(wrong("has no host"));
        }
        Ok(Self { tls, host, port, prefix: url.path().trim_end_matches('/').to_owned() })
    }

    fn shown(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let port = if self.port == if self.tls { 443 } else { 80 } { String::new() } else { format!(":{}", self.port) };
        format!("{scheme}://{host}{port}{}", self.prefix)
    }
}
