use proptest::prelude::*;

use super::*;

fn collection() -> Whose {
    Whose::Change(Route::Collection)
}

fn named(name: &str) -> Whose {
    Whose::Change(Route::Named(Some(name.to_owned())))
}

fn check(context: &str, table: &[(&str, Whose)]) {
    for (path, expected) in table {
        assert_eq!(&whose(path.as_bytes(), context), expected, "{path:?} with context path {context:?}");
    }
}

#[test]
fn what_any_generation_takes_for_the_routes_is_a_change() {
    check(
        "",
        &[
            ("/credentials", collection()),
            ("/credentials/", collection()),
            ("/%63redentials", collection()),
            ("/credential%73", collection()),
            ("/%63%72%65%64%65%6e%74%69%61%6C%73", collection()),
            ("/credentials/acc", named("acc")),
            ("/credentials/acc/", named("acc")),
            ("/credentials/a%63c", named("acc")),
            ("/%63redentials/a%63c/", named("acc")),
            ("/credentials/a%20b", named("a b")),
            ("/credentials/a+b", named("a+b")),
            ("/credentials/a%2Bb", named("a+b")),
            ("/credentials/a.b", named("a.b")),
            ("/credentials/a.", named("a.")),
            ("/credentials/.a", named(".a")),
            ("/credentials/...", named("...")),
            ("/credentials/acc.json", named("acc.json")),
            ("/credentials/a:b", named("a:b")),
            ("/credentials/a@b", named("a@b")),
            ("/credentials/~acc", named("~acc")),
            ("/credentials/%7Eacc", named("~acc")),
            ("/credentials/*", named("*")),
            ("/credentials/%C3%A9", named("é")),
            ("/credentials/%c3%a9", named("é")),
            ("/credentials/%EF%BC%A1", named("\u{ff21}")),
            ("/credentials/%F0%9F%9A%A2", named("🚢")),
            ("/credentials/acc%3F", named("acc?")),
            ("/credentials/acc%23", named("acc#")),
            ("/credentials/%20", named(" ")),
            ("/credentials/acc%20", named("acc ")),
            ("/credentials/%09", named("\t")),
            ("/credentials/%7F", named("\u{7f}")),
            ("/credentials/%22%3C%5E%7B%7C", named("\"<^{|")),
            ("/credentials/type", named("type")),
            ("/credentials/history", named("history")),
            ("/credentials/credentials", named("credentials")),
            ("/credentials/armory", named("armory")),
            ("/credentials/!$&'()=,", named("!$&'()=,")),
        ],
    );
}

#[test]
fn what_no_generation_takes_and_no_tolerance_reads_into_it_is_left_alone() {
    check(
        "",
        &[
            ("/", Whose::Other),
            ("", Whose::Other),
            ("*", Whose::Other),
            ("credentials", Whose::Other),
            ("host:80", Whose::Other),
            ("/credentials/type/x", Whose::Other),
            ("/credentials/type/x/", Whose::Other),
            ("/credentials/acc/history", Whose::Other),
            ("/credentials/acc/x", Whose::Other),
            ("/Credentials", Whose::Other),
            ("/%43redentials", Whose::Other),
            ("/CREDENTIALS/acc", Whose::Other),
            ("/credentials%20", Whose::Other),
            ("/%20credentials", Whose::Other),
            ("/credentials.json", Whose::Other),
            ("/credentialsx", Whose::Other),
            ("/xcredentials", Whose::Other),
            ("/x/credentials", Whose::Other),
            ("/credential", Whose::Other),
            ("/applications/a%20b/clusters", Whose::Other),
            ("/applications/a%2Fb", Whose::Other),
            ("/applications/a;b", Whose::Other),
            ("/clouddriver/credentials", Whose::Other),
        ],
    );
}

#[test]
fn what_servers_refuse_but_a_tolerant_one_might_read_is_watched() {
    check(
        "",
        &[
            ("/credentials//", Whose::Suspicious),
            ("//credentials", Whose::Suspicious),
            ("///credentials///acc", Whose::Suspicious),
            ("/credentials//acc", Whose::Suspicious),
            ("/credentials/acc//", Whose::Suspicious),
            ("/./credentials", Whose::Suspicious),
            ("/credentials/./acc", Whose::Suspicious),
            ("/x/../credentials", Whose::Suspicious),
            ("/credentials/x/../acc", Whose::Suspicious),
            ("/credentials/.", Whose::Suspicious),
            ("/credentials/..", Whose::Suspicious),
            ("/credentials;x=1", Whose::Suspicious),
            ("/credentials/acc;x=1", Whose::Suspicious),
            ("/;x/credentials", Whose::Suspicious),
            ("/x/..;/credentials", Whose::Suspicious),
            ("/credentials%3Bx", Whose::Suspicious),
            ("/credentials/acc%3b", Whose::Suspicious),
            ("/%2e/credentials", Whose::Suspicious),
            ("/x/%2E%2e/credentials", Whose::Suspicious),
            ("/credentials/a%2eb", Whose::Suspicious),
            ("/credentials%252facc", Whose::Suspicious),
            ("/%2563redentials", Whose::Suspicious),
            ("/%25%36%33redentials", Whose::Suspicious),
            ("/%2525252563redentials", Whose::Suspicious),
            ("/credentials/a%25b", Whose::Suspicious),
            ("/credentials/a%0ab", Whose::Suspicious),
            ("/credentials/a%0Db", Whose::Suspicious),
            ("/credentials%0a", Whose::Suspicious),
            ("/credentials/a%E2%80%A8b", Whose::Suspicious),
            ("/credentials/a%E2%80%A9b", Whose::Suspicious),
            ("/credentials%2Facc", Whose::Suspicious),
            ("/credentials/a%2Fb", Whose::Suspicious), // one name to who decodes late
            ("/credentials/%2f", Whose::Suspicious),
            ("/%2fcredentials", Whose::Suspicious),
            ("/credentials%5cacc", Whose::Suspicious),
            ("/credentials\\acc", Whose::Suspicious),
            ("\\credentials", Whose::Other), // no path at all
            ("/credentials/a%00b", Whose::Suspicious),
            ("/credentials%00", Whose::Suspicious),
            ("/credentials/%zz", Whose::Suspicious),
            ("/credentials/%", Whose::Suspicious),
            ("/credentials/a%2", Whose::Suspicious),
            ("/credentials/a^b", Whose::Suspicious),
            ("/credentials/a{b}", Whose::Suspicious),
            ("/credentials/a\"b", Whose::Suspicious),
            ("/credentials/a<b", Whose::Suspicious),
            ("/credentials/a|b", Whose::Suspicious),
            ("/credentials/a`b", Whose::Suspicious),
            ("/credentials#frag", Whose::Suspicious),
            ("/credentials/é", Whose::Suspicious),
            ("/credentials%c0%afacc", Whose::Suspicious),
            ("/credentials%e0%80%afacc", Whose::Suspicious),
            ("/credentials%f0%80%80%afacc", Whose::Suspicious),
            ("/%c1%a3redentials", Whose::Suspicious),
            ("/credentials/%E9", Whose::Suspicious),
            ("/credentials/%FF%FE", Whose::Suspicious),
            ("/credentials%3Fx", Whose::Suspicious),
            ("/credentials%23", Whose::Suspicious),
            ("/credentials%09", Whose::Suspicious),
        ],
    );
}

#[test]
fn below_armory_and_agents_is_ours() {
    check(
        "",
        &[
            ("/armory", Whose::Ours),
            ("/armory/", Whose::Ours),
            ("/armory/accounts", Whose::Ours),
            ("/armory/accounts/a%20b", Whose::Ours),
            ("/armory/accounts/a%2Fb", Whose::Ours),
            ("/armory/accounts/%C3%A9", Whose::Ours),
            ("/armory/accounts/a%3Fb", Whose::Ours),
            ("/armory//accounts", Whose::Ours),
            ("/armory/./accounts", Whose::Ours),
            ("/armory/accounts/x/../y", Whose::Ours),
            ("/armory/accounts;x=1", Whose::Ours),
            ("/armory/accounts/a.b", Whose::Ours),
            ("/armory/credentials", Whose::Ours),
            ("/agents/kubernetes", Whose::Ours),
            ("/agents/kubernetes/accounts/x", Whose::Ours),
            ("/Armory", Whose::Other),
            ("/%41rmory", Whose::Other),
            ("/armoryx", Whose::Other),
            ("/armory.json", Whose::Other),
            ("/armory%20", Whose::Other),
            ("/x/armory", Whose::Other),
            ("/agents", Whose::Other),
            ("/agents/", Whose::Other),
            ("/agents/kubernetesx", Whose::Other),
            ("/agents/Kubernetes", Whose::Other),
            ("/agents/ecs", Whose::Other),
            ("/prefix/armory", Whose::Other),
        ],
    );
}

#[test]
fn a_tricky_spelling_of_ours_is_denied() {
    for path in [
        "//armory",
        "/%61rmory",
        "/%61rmory/accounts/a%20b",
        "/armor%79/accounts",
        "/armory;x",
        "/armory;x/accounts",
        "/armory%3Bx",
        "/armory%3Fx",
        "/armory%23",
        "/armory%00",
        "/armory%0a/accounts",
        "/armory%2Faccounts",
        "/armory%2faccounts",
        "/armory\\accounts",
        "/armory%5Caccounts",
        "/./armory",
        "/x/../armory",
        "/x/..;/armory",
        "/x/%2e%2e/armory",
        "/%2e/armory",
        "/x/..%2farmory",
        "/x/..%252farmory",
        "/%2561rmory",
        "/%25%36%31rmory",
        "/%252561rmory",
        "/%c1%a1rmory",
        "/armory%c0%afaccounts",
        "/agents//kubernetes",
        "/agents/./kubernetes/accounts",
        "/agents/%6bubernetes",
        "/%61gents/kubernetes",
        "/agents%2Fkubernetes/accounts",
        "/agents;x/kubernetes",
        "/agents/kubernetes;x",
        "/credentials/../armory",
        "/credentials/..%2f..%2farmory/x",
        // Ours as it stands, but not to a reader that resolves dots.
        "/armory/..",
        "/armory/../credentials",
        "/armory/%2e%2e/credentials",
        "/armory/..%2fcredentials/acc",
        "/agents/kubernetes/../x",
    ] {
        assert_eq!(whose(path.as_bytes(), ""), Whose::OursDenied, "{path:?}");
    }
}

#[test]
fn a_context_path_stands_before_clouddrivers_routes_and_may_stand_before_ours() {
    check(
        "/clouddriver",
        &[
            ("/clouddriver/credentials", collection()),
            ("/%63louddriver/credentials/acc/", named("acc")),
            ("/clouddriver/credentials/a%63c", named("acc")),
            ("/credentials", Whose::Other),
            ("/credentials/acc", Whose::Other),
            ("/clouddriver", Whose::Other),
            ("/clouddriver//credentials", Whose::Suspicious),
            ("/Clouddriver/credentials", Whose::Other),
            ("/clouddrivercredentials", Whose::Other),
            ("/clouddriver/clouddriver/credentials", Whose::Other),
            ("/armory/accounts", Whose::Ours),
            ("/clouddriver/armory/accounts", Whose::Ours),
            ("/clouddriver/agents/kubernetes", Whose::Ours),
            ("/clouddriver/%61rmory", Whose::OursDenied),
            ("/%63louddriver/armory", Whose::OursDenied),
            ("/clouddriver/../armory", Whose::OursDenied),
            ("/other/armory", Whose::Other),
        ],
    );
    check("/a/b", &[("/a/b/credentials/x", named("x")), ("/a/credentials/x", Whose::Other)]);
}

#[test]
fn a_query_or_an_authority_makes_no_difference() {
    for target in
        ["/credentials?", "/credentials?x=1", "http://host/credentials", "HTTP://other:1/credentials?x", "https://host/credentials"]
    {
        assert_eq!(of(&target.parse::<Uri>().unwrap(), ""), collection(), "{target}");
    }
    assert_eq!(of(&"http://host/armory/accounts".parse::<Uri>().unwrap(), ""), Whose::Ours);
    assert_eq!(of(&"http://armory".parse::<Uri>().unwrap(), ""), Whose::Other);
    assert_eq!(of(&"host:80".parse::<Uri>().unwrap(), ""), Whose::Other);
    assert_eq!(of(&"*".parse::<Uri>().unwrap(), ""), Whose::Other);
}

#[test]
fn a_name_that_no_table_holds_is_a_change_without_a_name() {
    let long = format!("/credentials/{}", "x".repeat(MAX_NAME + 1));
    assert_eq!(whose(long.as_bytes(), ""), Whose::Change(Route::Named(None)));
    let longest = "é".repeat(MAX_NAME);
    assert_eq!(whose(format!("/credentials/{}", "%C3%A9".repeat(MAX_NAME)).as_bytes(), ""), named(&longest));
}

#[test]
fn escapes_nested_a_thousand_deep_are_followed_in_linear_time() {
    let path = format!("/%{}61rmory", "25".repeat(20_000));
    assert_eq!(whose(path.as_bytes(), ""), Whose::OursDenied);
}

/// A text with some of its bytes escaped, and the escapes escaped again `depth` times.
fn escaped(text: &str, mask: &[bool], depth: usize) -> String {
    let mut out = String::new();
    for (i, b) in text.bytes().enumerate() {
        if b != b'/' && mask[i % mask.len()] {
            out.push_str(&format!("%{}{b:02X}", "25".repeat(depth)));
        } else {
            out.push(char::from(b));
        }
    }
    out
}

proptest! {
    #[test]
    fn no_path_makes_it_panic(path in proptest::collection::vec(any::<u8>(), 0..200), context in "(/[a-z]{1,5})?") {
        whose(&path, &context);
    }

    #[test]
    fn no_mixture_of_tricks_makes_it_panic(path in "(/|//|%|%25|%2f|%5C|%2e|\\.|\\.\\.|;|\\\\|%c0|%af|armory|agents|kubernetes|credentials|%63|a){0,24}") {
        let path = format!("/{path}");
        let whose = whose(path.as_bytes(), "");
        if let Whose::Change(_) = whose {
            prop_assert!(strict(path.as_bytes()).is_some());
        }
    }

    #[test]
    fn any_once_escaped_spelling_of_a_name_is_that_name(name in "[a-zA-Z0-9_~@:é -]{1,30}", mask in proptest::collection::vec(any::<bool>(), 1..40), slash in any::<bool>()) {
        let escape_all = |b: u8| !(b.is_ascii_alphanumeric() || b"_~@:-".contains(&b));
        let spelled: String = name.bytes().enumerate()
            .map(|(i, b)| if escape_all(b) || mask[i % mask.len()] { format!("%{b:02x}") } else { char::from(b).to_string() })
            .collect();
        let path = format!("{}/{spelled}{}", escaped("/credentials", &mask, 0), if slash { "/" } else { "" });
        prop_assert_eq!(whose(path.as_bytes(), ""), named(&name));
    }

    #[test]
    fn no_disguise_of_ours_reaches_clouddriver(
        ours in "(armory|agents/kubernetes)(/[a-z]{1,4}){0,2}",
        mask in proptest::collection::vec(any::<bool>(), 1..40),
        depth in 0usize..4,
        before in "(/|/\\./|/x/\\.\\./|/x/%2e%2e/|/y/\\.\\.;a/|/%2f|/%5c)",
    ) {
        let path = format!("{before}{}", escaped(&ours, &mask, depth));
        let whose = whose(path.as_bytes(), "");
        prop_assert!(matches!(whose, Whose::Ours | Whose::OursDenied), "{path} is {whose:?}");
    }

    #[test]
    fn a_plain_path_is_read_alike_by_both_readings(path in "(/[a-z]{0,3}|/credentials|/armory|/agents|/kubernetes){1,4}") {
        prop_assume!(is_plain(path.as_bytes()));
        let plain = whose(path.as_bytes(), "");
        if !matches!(plain, Whose::Change(_)) {
            prop_assert_eq!(plain, by_tolerant_readings(path.as_bytes(), ""));
        }
    }
}
