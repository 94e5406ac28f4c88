//! Strict small parsers, text in, value or words out. The words never repeat the text: it may be a secret in the wrong place.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

type Parsed<T> = Result<T, String>;

/// `true`/`false` and the other spellings that Spring takes.
pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err("is not true or false".into()),
    }
}

/// A number between two bounds.
pub(super) fn number(least: u64, most: u64) -> impl Fn(&str) -> Parsed<u64> {
    move |text| {
        let right = || format!("is not a whole number from {least} to {most}");
        let n: u64 = text.parse().map_err(|_| right())?;
        if (least..=most).contains(&n) { Ok(n) } else { Err(right()) }
    }
}

/// A port; 0 lets the system choose.
pub(super) fn port(text: &str) -> Parsed<u16> {
    text.parse().map_err(|_| "is not a port: a number from 0 (any free one) to 65535".into())
}

/// An address to listen on.
pub(super) fn address(text: &str) -> Parsed<IpAddr> {
    match text {
        "localhost" => return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        "*" => return Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        _ => {}
    }
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    inner.parse().map_err(|_| "is not an IP address to listen on, such as 0.0.0.0, 127.0.0.1 or ::".into())
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// `50ms`, `2s`, `15m`, `1h`, `1d`, between two bounds. A number without a unit is refused, unless `bare` says what it means.
pub(super) fn duration(bare: Option<Duration>, least: Duration, most: Duration) -> impl Fn(&str) -> Parsed<Duration> {
    move |text| {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (count, unit) = text.split_at(digits);
        let wrong = || "is not a duration: a whole number and a unit, such as 50ms, 2s, 15m or 1h".to_owned();
        let count: u64 = count.parse().map_err(|_| wrong())?;
        let unit = unit.trim();
        let ms = match (unit.is_empty(), bare) {
            (true, Some(bare)) => u64::try_from(bare.as_millis()).unwrap_or(u64::MAX),
            (true, None) if count == 0 => 0,
            (true, None) => return Err("has no unit: write it as 50ms, 2s, 15m or 1h".into()),
            (false, _) => UNITS.iter().find(|(u, _)| *u == unit).ok_or_else(wrong)?.1,
        };
        let value = count.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)?;
        if (least..=most).contains(&value) {
            Ok(value)
        } else {
            Err(format!("lies outside of {} to {}", show_duration(least), show_duration(most)))
        }
    }
}

/// The largest unit that shows it whole.
pub(super) fn show_duration(value: Duration) -> String {
    let ms = value.as_millis();
    match UNITS.iter().rev().find(|(_, u)| ms > 0 && ms.is_multiple_of(u128::from(*u))) {
        Some((unit, size)) => format!("{}{unit}", ms / u128::from(*size)),
        None => format!("{ms}ms"),
    }
}

/// `1MiB`, `4MB`, `512KB`, `1024`: as in Spring each unit is a power of 1024, with the `i` or without.
pub(super) fn size(least: u64, most: u64) -> impl Fn(&str) -> Parsed<u64> {
    move |text| {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (count, unit) = text.split_at(digits);
        let wrong = || "is not a size: a whole number of bytes, or with a unit such as 512KB or 1MiB".to_owned();
        let factor: u64 = match unit.trim().to_ascii_uppercase().as_str() {
            "" | "B" => 1,
            "K" | "KB" | "KIB" => 1 << 10,
            "M" | "MB" | "MIB" => 1 << 20,
            "G" | "GB" | "GIB" => 1 << 30,
            _ => return Err(wrong()),
        };
        let value = count.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)?;
        if (least..=most).contains(&value) { Ok(value) } else { Err(format!("lies outside of {least} to {most} bytes")) }
    }
}

/// Whether Clouddriver's YAML reader takes a text without quotes for a boolean or a number, and so for another text.
pub(super) fn is_read_otherwise(text: &str) -> bool {
    if matches!(text.to_ascii_lowercase().as_str(), "yes" | "no" | "on" | "off" | "true" | "false") {
        return !matches!(text, "true" | "false");
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    let hex = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0b"));
    if hex.is_some_and(|h| !h.is_empty() && h.chars().all(|c| c.is_ascii_hexdigit() || c == '_')) {
        return true;
    }
    let digits = text.chars().all(|c| c.is_ascii_digit());
    let canonical = digits && (text == "0" || !text.starts_with('0'));
    let number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && text.chars().any(|c| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || "_:.eE+-".contains(c));
    number && !canonical
}

/// One of a closed set, in whatever case.
pub(super) fn choice<T: Copy>(choices: &'static [(&'static str, T)]) -> impl Fn(&str) -> Parsed<T> {
    move |text| {
        choices.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, v)| *v).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(n, _)| *n).collect();
            format!("is none of {}", names.join(", "))
        })
    }
}

/// Any text without control characters, up to a length.
pub(super) fn text(most: usize) -> impl Fn(&str) -> Parsed<String> {
    move |text| {
        if text.chars().any(char::is_control) {
            return Err("holds a control character".into());
        }
        if text.chars().count() > most {
            return Err(format!("is longer than {most} characters"));
        }
        Ok(text.to_owned())
    }
}

/// Empty, or `/prefix` with no slash at its end.
pub(super) fn context_path(text: &str) -> Parsed<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let fits = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    if text.is_empty() {
        Ok(String::new())
    } else if !text.starts_with('/') || text.contains("//") || text.split('/').any(|s| s == "." || s == "..") || !text.chars().all(fits) {
        Err("is not a context path: empty, or like /clouddriver (letters, digits, - . _ ~ and single slashes)".into())
    } else {
        Ok(text.to_owned())
    }
}

/// Host and port of Clouddriver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BaseUrl {
    pub(super) host: String,
    pub(super) port: u16,
    /// It is `https`.
    pub(super) tls: bool,
}

/// `http://host[:port]`, `https://host[:port]`.
pub(super) fn base_url(text: &str) -> Parsed<BaseUrl> {
    let url = url::Url::parse(text).map_err(|e| format!("is not a URL ({e}): write it as http://clouddriver:7002"))?;
    let tls = match url.scheme() {
        "http" => false,
        "https" => true,
        _ => return Err("is not an http URL: write it as http://clouddriver:7002".into()),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password, which are not sent: leave them out".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("holds a query or a fragment: leave them out".into());
    }
    if !matches!(url.path(), "" | "/") {
        return Err("holds a path, and requests are passed on with the path that they came with: leave it out here, and if Clouddriver \
                    is served below it give it as clouddriver.contextPath"
            .into());
    }
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    match url.port_or_known_default() {
        Some(0) | None => Err("has port 0: write it as http://clouddriver:7002".into()),
        Some(port) => Ok(BaseUrl { host: host.to_owned(), port, tls }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_duration(text: &str) -> Parsed<Duration> {
        duration(None, Duration::ZERO, Duration::MAX)(text)
    }

    #[test]
    fn durations_carry_a_unit() {
        for (text, ms) in [("50ms", 50), ("2s", 2_000), ("15m", 900_000), ("1h", 3_600_000), ("1d", 86_400_000), ("0", 0)] {
            assert_eq!(any_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "5", "5 parsecs", "-1s", "1.5s", "1e3s", "99999999999999999999s", "18446744073709551615d", "５s"] {
            assert!(any_duration(text).is_err(), "{text}");
        }
        assert_eq!(duration(Some(Duration::from_secs(1)), Duration::ZERO, Duration::MAX)("5"), Ok(Duration::from_secs(5)));
    }

    #[test]
    fn durations_are_shown_in_the_largest_whole_unit() {
        for text in ["50ms", "2s", "90s", "15m", "1h", "2d", "0ms"] {
            assert_eq!(show_duration(any_duration(text).unwrap_or_default()), text);
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, bytes) in [("1MiB", 1 << 20), ("4MB", 4 << 20), ("512KB", 512 << 10), ("7", 7), ("1 GB", 1 << 30)] {
            assert_eq!(size(0, u64::MAX)(text), Ok(bytes), "{text}");
        }
        for text in ["", "MB", "1.5MB", "-1", "1TBB", "99999999999GB"] {
            assert!(size(0, u64::MAX)(text).is_err(), "{text}");
        }
    }

    #[test]
    fn texts_that_clouddriver_reads_otherwise_are_known() {
        for text in ["yes", "Off", "TRUE", "0123", "1_000", "1e3", "12:30", "1.0", "-1", "0x1f", "2024-01-01"] {
            assert!(is_read_otherwise(text), "{text}");
        }
        for text in ["true", "0", "123", "secret", "12ab", "a1", "e", "1.0-rc", "-"] {
            assert!(!is_read_otherwise(text), "{text}");
        }
    }

    #[test]
    fn a_base_url_is_http_with_no_path() {
        let ok = |host: &str, port| Ok(BaseUrl { host: host.into(), port, tls: false });
        assert_eq!(base_url("https://c"), Ok(BaseUrl { host: "c".into(), port: 443, tls: true }));
        assert_eq!(base_url("http://clouddriver:7002"), ok("clouddriver", 7002));
        assert_eq!(base_url("http://10.0.0.1/"), ok("10.0.0.1", 80));
        assert_eq!(base_url("http://[::1]:7002"), ok("::1", 7002));
        for (text, word) in [
            ("c:7002", "http URL"),
            ("c", "not a URL"),
            ("http://c/prefix", "contextPath"),
            ("http://u:p@c", "password"),
            ("http://c?x", "query"),
            ("http://c:0", "port"),
            ("http://c:99999", "not a URL"),
        ] {
            assert!(base_url(text).unwrap_err().contains(word), "{text}: {:?}", base_url(text));
        }
    }

    #[test]
    fn a_context_path_begins_with_a_slash_and_ends_without() {
        assert_eq!(context_path("/a/b/"), Ok("/a/b".into()));
        assert_eq!(context_path("/"), Ok(String::new()));
        for text in ["a", "/a//b", "/..", "/a b", "/a%20"] {
            assert!(context_path(text).is_err(), "{text}");
        }
    }
}
