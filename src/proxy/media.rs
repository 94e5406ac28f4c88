//! What a request's or an answer's headers say about its body: media type, charset, coding.

use http::{HeaderMap, header};

/// The `Content-Type`, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Media {
    /// `type/subtype` in lower case; empty where the header is missing or not text.
    pub(crate) essence: String,
    /// The parameter `charset` in lower case, without quotes.
    pub(crate) charset: Option<String>,
    /// Whether there were several headers, or several charsets: servers pick either.
    pub(crate) ambiguous: bool,
}

impl Media {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::CONTENT_TYPE).iter();
        let mut media = values.next().and_then(|v| v.to_str().ok()).map(Self::parse).unwrap_or_default();
        media.ambiguous |= values.next().is_some();
        media
    }

    fn parse(text: &str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut media = Self { essence: parts.next().unwrap_or_default().to_ascii_lowercase(), ..Self::default() };
        for part in parts {
            let Some((key, value)) = part.split_once('=') else { continue };
            if key.trim().eq_ignore_ascii_case("charset") {
                let value = value.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
                media.ambiguous |= media.charset.replace(value).is_some();
            }
        }
        // A comma may stand for a second header that somebody joined.
        media.ambiguous |= text.contains(',');
        media
    }

    /// `application/json` or a type built on it.
    pub(crate) fn is_json(&self) -> bool {
        self.essence == "application/json" || (self.essence.starts_with("application/") && self.essence.ends_with("+json"))
    }

    /// Whether Clouddriver would find out the encoding from the bytes themselves, as it does where it reads the body as bytes.
    pub(crate) fn is_detected(&self) -> bool {
        self.charset
            .as_deref()
            .is_none_or(|c| matches!(c, "utf-8" | "utf8" | "us-ascii") || c.starts_with("utf-16") || c.starts_with("utf-32"))
    }
}

/// Whether the body is coded (compressed): `Content-Encoding` with anything but `identity`.
pub(crate) fn is_coded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|v| !v.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_read_as_servers_read_them() {
        let media = Media::parse("Application/JSON ; Charset=\"UTF-8\"");
        assert!(media.is_json() && media.is_detected() && !media.ambiguous);
        assert_eq!(media.charset.as_deref(), Some("utf-8"));
        assert!(Media::parse("application/vnd.spinnaker+json").is_json());
        assert!(!Media::parse("application/cbor").is_json());
        assert!(!Media::parse("text/json").is_json());
        assert!(!Media::parse("application/json; charset=iso-8859-1").is_detected());
        assert!(Media::parse("application/json; charset=utf-16le").is_detected());
        assert!(Media::parse("application/json; charset=utf-8; charset=utf-16").ambiguous);
        assert!(Media::parse("application/json, text/plain").ambiguous);
    }
}
