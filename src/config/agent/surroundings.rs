//! What the environment tells: the agent's name, the proxies on the way, the cluster that it runs in.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};

use super::super::env::Environment;

/// A proxy that is asked with CONNECT.
#[derive(Clone)]
pub struct ProxyUrl {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// User and password, as `Basic` wants them before its base64.
    pub credentials: Option<SecretString>,
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Without user and password.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl PartialEq for ProxyUrl {
    fn eq(&self, other: &Self) -> bool {
        let secret = |p: &Self| p.credentials.as_ref().map(|c| c.expose_secret().to_owned());
        (&self.host, self.port) == (&other.host, other.port) && secret(self) == secret(other)
    }
}

impl Eq for ProxyUrl {}

impl ProxyUrl {
    /// `http://[user:password@]host[:port]`, or without the scheme.
    ///
    /// # Errors
    /// Why it is not one, never quoting it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "is not the URL of a proxy, such as http://proxy:3128".to_owned();
        let text = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let url = url::Url::parse(&text).map_err(|_| wrong())?;
        match url.scheme() {
            "http" => {}
            "https" => return Err("is a proxy that is itself reached by TLS, which is not built: give one by http://".into()),
            _ => return Err(wrong()),
        }
        let host = url.host_str().filter(|h| !h.is_empty()).ok_or_else(wrong)?;
        let plain = |text: &str| percent_decoded(text);
        let credentials = (!url.username().is_empty() || url.password().is_some())
            .then(|| format!("{}:{}", plain(url.username()), plain(url.password().unwrap_or_default())).into());
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { host, port: url.port_or_known_default().unwrap_or(80), credentials })
    }
}

fn percent_decoded(text: &str) -> String {
    let (mut out, bytes, mut i) = (Vec::new(), text.as_bytes(), 0);
    while let Some(&b) = bytes.get(i) {
        let hex = bytes.get(i + 1..i + 3).and_then(|h| std::str::from_utf8(h).ok()).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (b, hex) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                i += 3;
            }
            _ => {
                out.push(b);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What the environment tells.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// `HOSTNAME`, or the machine's name: the pod's name, and the agent's id.
    pub host_name: Option<Arc<str>>,
    /// `POD_NAMESPACE`.
    pub namespace: Option<String>,
    /// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.
    pub api_server: Option<(String, u16)>,
    /// `HTTPS_PROXY`.
    pub https_proxy: Option<ProxyUrl>,
    /// `HTTP_PROXY`.
    pub http_proxy: Option<ProxyUrl>,
    /// `NO_PROXY`.
    pub no_proxy: Vec<String>,
    /// Variables that cannot be used, and why.
    pub remarks: Vec<String>,
}

impl Surroundings {
    /// From variables.
    pub fn of(environment: &dyn Environment) -> Self {
        let variables = environment.variables();
        let mut remarks = Vec::new();
        let mut proxy = |name: &str| {
            let text = either_case(&variables, name)?;
            ProxyUrl::parse(&text).map_err(|why| remarks.push(format!("{name} {why}: it is not used"))).ok()
        };
        let (https_proxy, http_proxy) = (proxy("HTTPS_PROXY"), proxy("HTTP_PROXY"));
        let no_proxy = either_case(&variables, "NO_PROXY").unwrap_or_default();
        let given = |name: &str| variables.get(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let api_server = given("KUBERNETES_SERVICE_HOST").and_then(|host| {
            let port = given("KUBERNETES_SERVICE_PORT").map_or(Some(443), |p| p.parse().ok())?;
            Some((host, port))
        });
        Self {
            host_name: given("HOSTNAME").or_else(|| environment.host_name()).map(Into::into),
            namespace: given("POD_NAMESPACE"),
            api_server,
            https_proxy,
            http_proxy,
            no_proxy: no_proxy.split([',', ' ']).map(|s| s.trim().to_ascii_lowercase()).filter(|s| !s.is_empty()).collect(),
            remarks,
        }
    }

    /// The proxy that leads to a host, if one does. This machine itself is never reached by one.
    pub fn proxy_to(&self, tls: bool, host: &str, port: u16) -> Option<&ProxyUrl> {
        let proxy = if tls { self.https_proxy.as_ref() } else { self.http_proxy.as_ref() }?;
        (!self.is_exempt(&host.trim_end_matches('.').to_ascii_lowercase(), port)).then_some(proxy)
    }

    /// `NO_PROXY`: a name with all below it, a name with a leading dot for those below it only, an address, a range of addresses
    /// (`10.0.0.0/8`), each with a port or without; `*` for everything.
    fn is_exempt(&self, host: &str, port: u16) -> bool {
        let address: Option<IpAddr> = host.parse().ok();
        if host == "localhost" || address.is_some_and(|a| a.is_loopback()) {
            return true;
        }
        self.no_proxy.iter().any(|rule| {
            let (rule, wanted) = match rule.rsplit_once(':').and_then(|(h, p)| Some((h, p.parse::<u16>().ok()?))) {
                Some((name, p)) if rule.parse::<IpAddr>().is_err() => (name, Some(p)),
                _ => (rule.as_str(), None),
            };
            if wanted.is_some_and(|p| p != port) {
                return false;
            }
            let rule = rule.trim_start_matches('[').trim_end_matches(']');
            match (rule, address) {
                ("*", _) => true,
                (range, Some(address)) if range.contains('/') => in_range(address, range),
                (rule, Some(address)) => rule.parse() == Ok(address),
                (rule, None) => {
                    let rule = rule.strip_prefix('*').unwrap_or(rule);
                    match rule.strip_prefix('.') {
                        Some(_) => host.ends_with(rule),
                        None => host == rule || host.strip_suffix(rule).is_some_and(|h| h.ends_with('.')),
                    }
                }
            }
        })
    }
}

fn either_case(variables: &BTreeMap<String, String>, name: &str) -> Option<String> {
    let given = |name: &str| variables.get(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    given(name).or_else(|| given(&name.to_ascii_lowercase()))
}

fn in_range(address: IpAddr, range: &str) -> bool {
    let Some((net, bits)) = range.split_once('/') else { return false };
    let (Ok(net), Ok(bits)) = (net.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (address, net) {
        (IpAddr::V4(a), IpAddr::V4(n)) if bits <= 32 => u32::from(a).checked_shr(32 - bits) == u32::from(n).checked_shr(32 - bits),
        (IpAddr::V6(a), IpAddr::V6(n)) if bits <= 128 => u128::from(a).checked_shr(128 - bits) == u128::from(n).checked_shr(128 - bits),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(pairs: &[(&str, &str)]) -> Surroundings {
        let variables: BTreeMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Surroundings::of(&variables)
    }

    #[test]
    fn a_proxy_is_found_for_what_no_proxy_does_not_exempt() {
        let around = around(&[
            ("https_proxy", "http://u:p%40ss@proxy:3128"),
            ("NO_PROXY", "cluster.local, .svc,10.0.0.0/8,192.0.2.7,fe80::/10,other:9091,[2001:db8::1]:6443"),
        ]);
        let proxied = |host: &str, port| around.proxy_to(true, host, port).is_some();
        for (host, port) in [("api.example.com", 443), ("svc", 443), ("other", 443), ("notcluster.local", 443), ("192.0.2.8", 1)] {
            assert!(proxied(host, port), "{host}");
        }
        for (host, port) in [
            ("cluster.local", 443),
            ("a.Cluster.local.", 443),
            ("x.svc", 443),
            ("10.1.2.3", 443),
            ("192.0.2.7", 1),
            ("fe80::1", 1),
            ("other", 9091),
            ("2001:db8::1", 6443),
            ("localhost", 1),
            ("127.0.0.1", 1),
            ("::1", 1),
        ] {
            assert!(!proxied(host, port), "{host}");
        }
        assert!(around.proxy_to(false, "api.example.com", 80).is_none());
        let proxy = around.https_proxy.unwrap();
        assert_eq!(proxy.credentials.as_ref().unwrap().expose_secret(), "u:p@ss");
        assert_eq!(format!("{proxy} {proxy:?}"), "http://proxy:3128 http://proxy:3128");
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_told_without_its_password() {
        let around = around(&[("HTTPS_PROXY", "https://u:hunter2@proxy:3128")]);
        assert!(around.https_proxy.is_none());
        assert!(around.remarks[0].starts_with("HTTPS_PROXY ") && !around.remarks[0].contains("hunter2"), "{:?}", around.remarks);
    }
}
