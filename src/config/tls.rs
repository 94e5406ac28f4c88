//! Keys that name PEM files. The files are read here already, so that what is wrong with one is told with its key.

use std::path::PathBuf;

use super::reader::{Given, Reader};
use super::values;
use crate::tls::agents::Versions;
use crate::tls::upstream::name_of;
use crate::tls::{ClientAuth, FileError, Role, agents as agents_tls, front, upstream};

const FRONT: &str = "server.ssl";
const AGENTS: &str = "kubesvc.grpc.server.security";
const UPSTREAM: &str = "services.clouddriver.ssl";

/// Key stores of Java: what is in them cannot be read here.
const STORES: [&str; 3] = ["server.ssl.key-store", "server.ssl.trust-store", "server.ssl.bundle"];

type Located = Option<(PathBuf, Given)>;

/// A PEM file's name. Spring takes the text of the file in its place too; a private key has no business there.
fn file(text: &str) -> Result<PathBuf, String> {
    if text.contains("-----BEGIN") {
        return Err("holds PEM itself: name a file that holds it".into());
    }
    if text.starts_with("classpath:") {
        return Err("names something on a class path, which there is none of: name a file".into());
    }
    let path = text.strip_prefix("file:").map_or(text, |path| path.strip_prefix("//").unwrap_or(path));
    values::text(4_096)(path).map(PathBuf::from)
}

/// `server.ssl.*`.
pub(super) fn front(reader: &mut Reader<'_>) -> Option<front::Files> {
    let before = reader.findings.mistakes.len();
    let enabled = reader.located(&format!("{FRONT}.enabled"), values::boolean);
    let certificate = reader.located(&format!("{FRONT}.certificate"), file);
    let key = reader.located(&format!("{FRONT}.certificatePrivateKey"), file);
    let trust = reader.located(&format!("{FRONT}.trustCertificate"), file);
    let auth = values::choice(&[("none", ClientAuth::None), ("want", ClientAuth::Want), ("need", ClientAuth::Need)]);
    let (client_auth, auth_at) = reader.required_located(&format!("{FRONT}.clientAuth"), auth);
    if let Some((false, _)) = enabled {
        return None;
    }
    let broken = reader.findings.mistakes.len() > before;
    if certificate.is_none() && key.is_none() {
        if let Some((true, at)) = &enabled
            && !broken
        {
            let store = STORES.into_iter().find_map(|name| reader.given(name));
            let but = if store.is_some() { "; Java's key stores cannot be read" } else { "" };
            reader.mistake(at, format!("is true, and server.ssl.certificate and .certificatePrivateKey name no PEM files{but}"));
        }
        return None;
    }
    let (certificate, key) = pair(reader, ["server.ssl.certificate", "server.ssl.certificatePrivateKey"], certificate, key, broken)?;
    if client_auth != ClientAuth::None && trust.is_none() && !broken {
        reader.mistake(&auth_at, "asks clients for certificates, and server.ssl.trustCertificate names no file with their CAs");
    }
    if client_auth == ClientAuth::None
        && let Some((_, at)) = &trust
    {
        reader.note(at, "has no effect: server.ssl.clientAuth is none");
    }
    if reader.findings.mistakes.len() > before {
        return None;
    }
    let files = front::Files {
        certificate: certificate.0.clone(),
        key: key.0.clone(),
        trust: trust.as_ref().map(|(path, _)| path.clone()),
        client_auth,
    };
    let opened = front::Acceptor::open(files.clone()).map(drop);
    usable(reader, opened, Some(&certificate.1), Some(&key.1), trust.as_ref().map(|(_, at)| at)).then_some(files)
}

/// `kubesvc.grpc.server.security.*`.
pub(super) fn agents(reader: &mut Reader<'_>) -> Option<agents_tls::Files> {
    let before = reader.findings.mistakes.len();
    let (enabled, enabled_at) = reader.required_located(&format!("{AGENTS}.enabled"), values::boolean);
    let certificate = reader.located(&format!("{AGENTS}.certificateChain"), file);
    let key = reader.located(&format!("{AGENTS}.privateKey"), file);
    let password = reader.located(&format!("{AGENTS}.privateKeyPassword"), |text| Ok(!text.is_empty()));
    let trust = reader.located(&format!("{AGENTS}.trustCertCollection"), file);
    let auth = values::choice(&[("NONE", ClientAuth::None), ("OPTIONAL", ClientAuth::Want), ("REQUIRE", ClientAuth::Need)]);
    let (client_auth, auth_at) = reader.required_located(&format!("{AGENTS}.clientAuth"), auth);
    let versions = versions(reader);
    if !enabled {
        let asked = (client_auth != ClientAuth::None).then_some(&auth_at);
        if let Some(at) = asked.or(certificate.as_ref().or(key.as_ref()).or(trust.as_ref()).map(|(_, at)| at)) {
            reader.warn(at, format!("has no effect: {AGENTS}.enabled is not true, and agents are served without TLS"));
        }
        return None;
    }
    if let Some((_, at)) = password {
        let text =
            "is given, and a key under a password is not supported: keep it without one, readable to Fairlead only, and leave this out";
        reader.mistake(&at, text);
    }
    let broken = reader.findings.mistakes.len() > before;
    if certificate.is_none() && key.is_none() {
        if !broken {
            reader.mistake(&enabled_at, format!("is true, and {AGENTS}.certificateChain and .privateKey name no PEM files"));
        }
        return None;
    }
    let (certificate, key) =
        pair(reader, [&format!("{AGENTS}.certificateChain"), &format!("{AGENTS}.privateKey")], certificate, key, broken)?;
    if client_auth != ClientAuth::None && trust.is_none() && !broken {
        let text = format!(
            "asks agents for certificates, and {AGENTS}.trustCertCollection names no file with their CAs; the system's own would let in whoever has \
             bought a certificate"
        );
        reader.mistake(&auth_at, text);
    }
    if client_auth == ClientAuth::None
        && let Some((_, at)) = &trust
    {
        reader.warn(at, format!("has no effect: {AGENTS}.clientAuth is NONE, and agents are not asked for certificates"));
    }
    if reader.findings.mistakes.len() > before {
        return None;
    }
    let files = agents_tls::Files {
        certificate: certificate.0.clone(),
        key: key.0.clone(),
        trust: trust.as_ref().map(|(path, _)| path.clone()),
        client_auth,
        versions: versions?,
    };
    let opened = front::Acceptor::open(files.clone()).map(drop);
    usable(reader, opened, Some(&certificate.1), Some(&key.1), trust.as_ref().map(|(_, at)| at)).then_some(files)
}

/// `protocols`, in Java's names.
fn versions(reader: &mut Reader<'_>) -> Option<Versions> {
    let name = format!("{AGENTS}.protocols");
    let mut versions = Versions { tls12: false, tls13: false };
    let mut wrong = None;
    for text in reader.list(&name) {
        match text.trim() {
            "TLSv1.2" => versions.tls12 = true,
            "TLSv1.3" => versions.tls13 = true,
            "TLSv1" | "TLSv1.0" | "TLSv1.1" | "SSLv2Hello" | "SSLv3" => {
                wrong = Some("names a version that is no longer safe and not spoken: TLSv1.2 and TLSv1.3 are");
            }
            _ => wrong = Some("names what is no version: TLSv1.2 and TLSv1.3 are"),
        }
    }
    if !versions.tls12 && !versions.tls13 && wrong.is_none() {
        versions = Versions { tls12: true, tls13: true };
    }
    if let Some(text) = wrong {
        let at = reader.place_of(&name);
        reader.mistake(&at, text);
        return None;
    }
    Some(versions)
}

/// `services.clouddriver.ssl.*`, for a URL of `https`.
pub(super) fn upstream(reader: &mut Reader<'_>, host: &str, https: bool, url: &Given) -> Option<upstream::Files> {
    let before = reader.findings.mistakes.len();
    let trust = reader.located(&format!("{UPSTREAM}.trustCertificate"), file);
    let certificate = reader.located(&format!("{UPSTREAM}.certificate"), file);
    let key = reader.located(&format!("{UPSTREAM}.certificatePrivateKey"), file);
    if !https {
        if let Some((_, at)) = [&trust, &certificate, &key].into_iter().flatten().next() {
            reader.warn(at, "has no effect: services.clouddriver.baseUrl is not https");
        }
        return None;
    }
    if name_of(host).is_none() {
        reader.mistake(url, "is https, and its host is no name that a certificate can have");
    }
    let broken = reader.findings.mistakes.len() > before;
    let identity = match (certificate, key) {
        (None, None) => None,
        (certificate, key) => {
            let keys = ["services.clouddriver.ssl.certificate", "services.clouddriver.ssl.certificatePrivateKey"];
            pair(reader, keys, certificate, key, broken)
        }
    };
    let Some((path, trust_at)) = trust else {
        if !broken {
            let text = "is https, and services.clouddriver.ssl.trustCertificate names no PEM file with the CA of Clouddriver's certificate; \
                        there is no other list of CAs";
            reader.mistake(url, text);
        }
        return None;
    };
    if reader.findings.mistakes.len() > before {
        return None;
    }
    let files = upstream::Files { trust: path, identity: identity.as_ref().map(|(c, k)| (c.0.clone(), k.0.clone())) };
    let opened = upstream::Connector::open(files.clone(), host).map(drop);
    let (certificate, key) = (identity.as_ref().map(|(c, _)| &c.1), identity.as_ref().map(|(_, k)| &k.1));
    usable(reader, opened, certificate, key, Some(&trust_at)).then_some(files)
}

/// A certificate and its key: both, or it is a mistake.
fn pair(
    reader: &mut Reader<'_>,
    [certificate_key, key_key]: [&str; 2],
    certificate: Located,
    key: Located,
    broken: bool,
) -> Option<((PathBuf, Given), (PathBuf, Given))> {
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (Some((_, at)), None) if !broken => {
            reader.mistake(&at, format!("names a certificate, and {key_key} no key"));
            None
        }
        (None, Some((_, at))) if !broken => {
            reader.mistake(&at, format!("names a key, and {certificate_key} no certificate"));
            None
        }
        _ => None,
    }
}

fn usable(
    reader: &mut Reader<'_>,
    opened: Result<(), FileError>,
    certificate: Option<&Given>,
    key: Option<&Given>,
    trust: Option<&Given>,
) -> bool {
    let Err(error) = opened else { return true };
    let at = match error.role {
        Role::Certificate => certificate,
        Role::Key => key,
        Role::Trust => trust,
    };
    if let Some(at) = at {
        reader.mistake(at, error.to_string());
    }
    false
}
