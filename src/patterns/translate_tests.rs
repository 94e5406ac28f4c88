use crate::patterns::{Pattern, Patterns};

fn all(patterns: &[&str]) -> Patterns {
    let read = patterns.iter().map(|p| Pattern::read(p).unwrap_or_else(|fault| panic!("{p}: {fault:?}"))).collect();
    Patterns::new(read).expect("small enough")
}

fn takes(pattern: &str, name: &str) -> bool {
    all(&[pattern]).take(name)
}

/// Pattern, names that it takes, names that it does not.
const TABLE: &[(&str, &[&str], &[&str])] = &[
    // The documents' own.
    ("^account1.*", &["account1", "account10", "account1-prod"], &["my-account1", "Account1", "account", "account2"]),
    ("^.*account2.*", &["account2", "my-account2", "account20", "x account2 y"], &["Account2", "account", "account-2"]),
    // The whole name, as `matches()`.
    ("account1", &["account1"], &["account10", "my-account1", "account1\n"]),
    ("a|b", &["a", "b"], &["ab", "xb", "ax"]),
    ("^a|b$", &["a", "b"], &["ax", "xb"]),
    ("a$", &["a"], &["a\n", "ab"]),
    (".*", &["", "a", "ü😀"], &["a\nb", "a\rb", "a\u{2028}b", "a\u{85}"]),
    ("", &[""], &["a"]),
    // Java's classes are of ASCII.
    (r"k8s-\d+", &["k8s-1", "k8s-007"], &["k8s-", "k8s-\u{661}"]),
    (r"\w+", &["a_1"], &["ä", "a-b"]),
    (r"a\sb", &["a b", "a\tb", "a\u{b}b"], &["a\u{a0}b", "ab"]),
    (r"[^\d]+", &["a", "\u{661}"], &["1"]),
    (r"[\w.-]+@x", &["a.b-c@x"], &["@x", "ä@x"]),
    (r"\D\W\S", &["a-b"], &["1-b", "aab", "a- "]),
    // Folding is of ASCII, and ends with its group.
    ("(?i)prod-k.*", &["PROD-K", "prod-k1", "Prod-kX"], &["prod-\u{212a}"]),
    ("(?i:a)b", &["Ab", "ab"], &["aB"]),
    ("((?i)a)b", &["Ab", "ab"], &["aB"]),
    ("(?i)[a-cX]", &["a", "C", "x"], &["d", "y"]),
    ("(?i)[^a]", &["b", "B"], &["a", "A"]),
    ("(?i)ä", &["ä"], &["Ä"]),
    ("(?i)a(?-i)b", &["Ab"], &["AB"]),
    // What means the same in both.
    ("(dev|test)-[a-z]{2,3}[0-9]?", &["dev-eu", "test-usa1"], &["dev-e", "prod-eu", "dev-EU"]),
    ("a{2}b{1,}c+?", &["aabc", "aabbcc"], &["abc", "aab"]),
    (r"a\.b\-c\/d", &["a.b-c/d"], &["axb-c/d"]),
    (r"\x41\u0042\t", &["AB\t"], &["ab\t"]),
    ("(?<zone>eu)-x", &["eu-x"], &["-x"]),
    ("[]a]+", &["]a"], &["b"]),
    ("ü+", &["üü"], &["u"]),
];

#[test]
fn a_pattern_takes_the_whole_name_and_means_what_it_means_to_java() {
    for (pattern, yes, no) in TABLE {
        for name in *yes {
            assert!(takes(pattern, name), "{pattern} takes {name:?}");
        }
        for name in *no {
            assert!(!takes(pattern, name), "{pattern} does not take {name:?}");
        }
    }
}

#[test]
fn what_would_mean_something_else_here_or_take_more_than_linear_time_is_refused_with_its_place() {
    for (pattern, at, word) in [
        ("^(?!prod).*", 2, "looks around"),
        ("ab(?=c)", 3, "looks around"),
        ("ü(?<=a)b", 2, "looks around"),
        ("(?<!a)b", 1, "looks around"),
        (r"(a)\1", 4, "refers back"),
        (r"(?<n>a)\k<n>", 8, "refers back"),
        ("a*+b", 3, "possessive"),
        ("a++", 3, "possessive"),
        ("a?+", 3, "possessive"),
        ("a{2}+", 5, "possessive"),
        ("(?>a|ab)c", 3, "atomic"),
        (r"\Qa.b\E", 1, r"\Q"),
        (r"a\Z", 2, r"\Z"),
        (r"\bprod", 1, "boundary"),
        (r"a\<", 2, "backslash"),
        (r"\p{Lower}", 1, "property"),
        (r"[\p{L}]", 2, "property"),
        ("[[:alpha:]]", 2, "by name"),
        ("[a-z&&[^b]]", 2, "operation"),
        ("[a--b]", 2, "operation"),
        ("[a[bc]]", 3, "within a class"),
        (r"a\v", 2, r"\x0B"),
        ("(?s).*", 3, "only i"),
        ("(?x) a # b", 3, "only i"),
        ("(?U)a", 3, "only i"),
        // Wrapped as they are these would be taken.
        ("a)(b", 2, "unopened"),
        ("a)|(?:b", 2, "unopened"),
        ("(a", 1, "unclosed"),
        ("[a", 1, "unclosed"),
        ("*a", 1, "repetition"),
        (r"a\", 2, "escape"),
    ] {
        let fault = Pattern::read(pattern).expect_err(pattern);
        assert!(fault.why.contains(word) && fault.at == at, "{pattern}: {fault:?}");
    }
}

#[test]
fn what_is_too_large_is_refused_and_not_tried() {
    for pattern in ["(((a{1000}){1000}){1000})", "(.{1000}){100}", &"(".repeat(400), &"a".repeat(1_001)] {
        assert!(Pattern::read(pattern).is_err(), "{}", pattern.get(..20).unwrap_or_default());
    }
    let many = || (0..700).map(|n| Pattern::read(&format!("(a{{1000}}b{n}){{3}}")).expect("each is small enough")).collect::<Vec<_>>();
    assert!(Patterns::new(many()).is_err_and(|fault| fault.why.contains("together")));
}

#[test]
fn a_pattern_that_other_engines_take_for_ever_with_costs_as_much_as_the_name_is_long() {
    let set = all(&["(a+)+$", "(a|a)*b", "(.*)*(.*)*(.*)*c", "^(([a-z])+.)+[A-Z]([a-z])+$"]);
    // Java needs more time for the first of them than there is.
    assert!(!set.take(&format!("{}!", "a".repeat(255))));
    assert!(!set.take(&format!("{}!", "a".repeat(1 << 20))));
}

#[test]
fn of_several_patterns_the_first_that_takes_a_name_is_told() {
    let set = all(&["^account1.*", "^.*account2.*", "account.*"]);
    let first = |name| set.first(name);
    assert_eq!(first("account12"), Some("^account1.*"));
    assert_eq!(first("my-account2"), Some("^.*account2.*"));
    assert_eq!(first("account3"), Some("account.*"));
    assert_eq!(first("other"), None);
    assert!(all(&[]).is_empty() && !all(&[]).take(""));
}

mod properties {
    use proptest::prelude::*;

    use super::Pattern;

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_within_its_bounds(text in r"[ -~ü\n]{0,40}") {
            if let Err(fault) = Pattern::read(&text) {
                prop_assert!(fault.at <= text.chars().count() + 1, "{fault:?}");
            }
        }

        /// A literal text, escaped, takes itself and nothing else.
        #[test]
        fn an_escaped_text_takes_itself_alone(text in r"[ -~ü😀]{1,20}", other in r"[ -~ü]{0,20}") {
            let escaped = regex::escape(&text);
            let set = super::all(&[&escaped]);
            prop_assert!(set.take(&text));
            prop_assert_eq!(set.take(&other), other == text);
        }
    }
}
