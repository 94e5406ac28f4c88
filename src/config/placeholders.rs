//! `${NAME}`, `${NAME:default}`, `${other.key}`, one inside another.

/// Levels of one inside another, through other keys too.
const MAX_DEPTH: usize = 16;
/// Bytes of a value with all placeholders filled in.
const MAX_LENGTH: usize = 1 << 20;

/// Fills in a text. `lookup` knows the environment and the other keys, and returns their texts unfilled.
///
/// # Errors
/// What is wrong, naming placeholders but never a value.
pub(super) fn fill(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    Filler { lookup, open: Vec::new(), work: MAX_LENGTH }.fill(text, 0)
}

struct Filler<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Names being filled in: one of them inside itself is a circle.
    open: Vec<String>,
    /// Steps and bytes that may still be spent, in-between results counted.
    work: usize,
}

impl Filler<'_> {
    fn fill(&mut self, text: &str, depth: usize) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return Err(format!("placeholders lie more than {MAX_DEPTH} deep in one another"));
        }
        let (mut out, mut rest) = (String::new(), text);
        while let Some(at) = rest.find("${") {
            out.push_str(&rest[..at]);
            let inner = &rest[at + 2..];
            let Some(end) = closing(inner) else { return Err("a placeholder `${` has no `}`".into()) };
            out.push_str(&self.one(&inner[..end], depth)?);
            rest = &inner[end + 1..];
        }
        out.push_str(rest);
        self.work = self.work.checked_sub(out.len() + 1).ok_or("the value is too long with its placeholders filled in")?;
        Ok(out)
    }

    fn one(&mut self, inner: &str, depth: usize) -> Result<String, String> {
        let (name, default) = split_default(inner);
        let name = self.fill(name, depth + 1)?.trim().to_owned();
        if self.open.contains(&name) {
            return Err(format!("the placeholder ${{{}}} leads back to itself", shown(&name)));
        }
        if let Some(text) = (self.lookup)(&name) {
            self.open.push(name);
            let filled = self.fill(&text, depth + 1);
            self.open.pop();
            return filled;
        }
        match default {
            Some(default) => self.fill(default, depth + 1),
            None => Err(format!(
                "nothing is known by the name of the placeholder ${{{0}}}: set the environment variable or the key, or give a default as in ${{{0}:default}}",
                shown(&name)
            )),
        }
    }
}

/// A name for a message; a long one is more likely a misplaced value.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Where the `}` lies that belongs to an already opened `${`.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, bytes) = (0_usize, text.as_bytes());
    for (i, b) in bytes.iter().enumerate() {
        match b {
            b'{' if i > 0 && bytes[i - 1] == b'$' => depth += 1,
            b'}' if depth == 0 => return Some(i),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// At the first `:` that is not inside an inner placeholder.
fn split_default(inner: &str) -> (&str, Option<&str>) {
    let (mut depth, bytes) = (0_usize, inner.as_bytes());
    for (i, b) in bytes.iter().enumerate() {
        match b {
            b'{' if i > 0 && bytes[i - 1] == b'$' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b':' if depth == 0 => return (&inner[..i], Some(&inner[i + 1..])),
            _ => {}
        }
    }
    (inner, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(known: &[(&str, &str)], text: &str) -> Result<String, String> {
        fill(text, &|name| known.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn names_defaults_and_nesting_are_filled_in() {
        let known = [("HOST", "db"), ("a.b", "${HOST}:1"), ("K", "HOST")];
        for (text, expected) in [
            ("x", "x"),
            ("${HOST}", "db"),
            ("${NO:d}", "d"),
            ("${NO:}", ""),
            ("${NO:http://h:1}", "http://h:1"),
            ("${NO:${HOST:x}}/y", "db/y"),
            ("${a.b}", "db:1"),
            ("${${K}}", "db"),
            ("$HOST {x}", "$HOST {x}"),
        ] {
            assert_eq!(with(&known, text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn circles_unknown_names_and_open_ends_are_told() {
        assert!(with(&[("a", "${b}"), ("b", "${a}")], "${a}").unwrap_err().contains("leads back to itself"));
        assert!(with(&[], "${NOPE}").unwrap_err().contains("${NOPE:default}"));
        assert!(with(&[], "${NOPE").unwrap_err().contains("no `}`"));
        assert!(with(&[], &format!("{}x{}", "${a:".repeat(40), "}".repeat(40))).unwrap_err().contains("deep"));
    }

    #[test]
    fn a_small_text_cannot_become_a_large_one() {
        let known: Vec<(String, String)> = (0..12).map(|i| (format!("k{i}"), format!("${{k{}}}", i + 1).repeat(20))).collect();
        let known: Vec<(&str, &str)> = known.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let mut known = known;
        known.push(("k12", "xxxxxxxx"));
        assert!(with(&known, "${k0}").unwrap_err().contains("too long"));
    }
}
