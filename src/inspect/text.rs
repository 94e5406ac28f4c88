//! Names as a terminal can bear them. A name comes from whoever may write an account, and a terminal obeys what it is sent.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

/// Whether a character does something to a terminal or to the reader's eye, rather than being seen.
const fn is_harmful(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        // What turns the direction of writing, joins or hides: a name could look like another.
        | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// The text with such characters as `\u{…}`, and a backslash doubled, so that no two texts look the same.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            c if is_harmful(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// JSON with such characters as `\uXXXX`, which they can only be within its texts; it means the same.
pub(super) fn shown_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if is_harmful(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

/// How many columns of a terminal it takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(shown("plain-name_1.ü日本"), "plain-name_1.ü日本");
        assert_eq!(shown("a\x1b[31mb\nc\u{9b}d\u{202e}e\\u{1b}"), "a\\u{1b}[31mb\\u{a}c\\u{9b}d\\u{202e}e\\\\u{1b}");
    }

    #[test]
    fn json_means_the_same_afterwards() {
        let name = "a\x1b\u{9b}\u{202e}\u{e0001}\u{feff}😀日";
        let json = shown_json(&serde_json::json!({ "name": name }).to_string());
        assert!(!json.chars().any(is_harmful), "{json}");
        let back: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(back["name"], name);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        assert_eq!((width("ab"), width("日本"), width("ü")), (2, 4, 1));
    }
}
