//! Table C2, table C5 and part E of the faults: spellings of the path, methods, framing, names.

use super::differential::{Case, Needs, run as differential};
use super::report::Report;
use super::world::{Ledger, World, definition, expect, put, send};
use crate::support::http::{Connection, Request};

pub async fn run(report: &Report, world: &World) {
    report
        .case(&world.title("paths: every spelling of /credentials, for POST and PUT"), async {
            let fairlead = world.fresh_fairlead("paths-collection").await;
            let mut cases = Vec::new();
            for target in COLLECTION {
                cases.push(Case::new(format!("POST {target}"), Needs::Nothing, move |n| {
                    Request::new("POST", target).json(definition(n, "after").to_string())
                }));
                cases.push(Case::new(format!("PUT {target}"), Needs::Stored, move |n| {
                    Request::new("PUT", target).json(definition(n, "after").to_string())
                }));
            }
            cases.extend(raw_targets().into_iter().map(|(label, target)| {
                Case::new(format!("POST {label}"), Needs::Nothing, move |n| {
                    let mut request = Request::new("POST", "").json(definition(n, "after").to_string());
                    request.target = target.clone();
                    request
                })
            }));
            differential(world, &fairlead, &cases).await;
        })
        .await;
    report
        .case(&world.title("paths: every spelling of /credentials/{name}, for PUT and DELETE"), async {
            let fairlead = world.fresh_fairlead("paths-name").await;
            let mut cases = Vec::new();
            for &(account, target) in NAMED {
                cases.push(
                    Case::new(format!("DELETE {target}"), Needs::Stored, move |n| Request::new("DELETE", &target.replace("TAG", n)))
                        .account(move |n| account.replace("TAG", n)),
                );
            }
            // An account whose name is no file name may never go live: Clouddriver writes a file for each.
            for &(account, target) in NAMED.iter().filter(|(account, target)| !target.contains("%20") && !account.contains('/')) {
                cases.push(
                    Case::new(format!("PUT {target}"), Needs::Live, move |n| {
                        let name = account.replace("TAG", n);
                        Request::new("PUT", &target.replace("TAG", n)).json(definition(&name, "after").to_string())
                    })
                    .account(move |n| account.replace("TAG", n)),
                );
            }
            cases.push(Case::new("PUT with another name in the body", Needs::Live, |n| {
                Request::new("PUT", &format!("/credentials/{n}")).json(definition(&format!("{n}other"), "after").to_string())
            }));
            cases.push(Case::new("PUT of what is not live", Needs::Nothing, |n| {
                Request::new("PUT", &format!("/credentials/{n}")).json(definition(n, "after").to_string())
            }));
            cases.push(Case::new("DELETE of what is not there", Needs::Nothing, |n| Request::new("DELETE", &format!("/credentials/{n}"))));
            differential(world, &fairlead, &cases).await;
        })
        .await;
    report
        .case(&world.title("paths: methods, framing and headers that look like a change, or hide one"), async {
            let fairlead = world.fresh_fairlead("paths-methods").await;
            differential(world, &fairlead, &methods()).await;
        })
        .await;
    report
        .case(&world.title("paths: words of the route are ordinary names, and an empty name is one too"), async {
            let fairlead = world.fresh_fairlead("paths-words").await;
            words(world, &fairlead).await;
        })
        .await;
    report
        .case(&world.title("paths: pipelined requests are seen one by one, in order"), async {
            let fairlead = world.fresh_fairlead("paths-pipeline").await;
            let mut ledger = Ledger::default();
            let mut connection = Connection::open(fairlead.setup.port).await.expect("Fairlead takes connections");
            let requests: Vec<_> =
                (0..6).map(|i| super::world::post(&format!("pipe{i}"), "x")).chain([super::world::delete("pipe3")]).collect();
            let bytes: Vec<u8> = requests.iter().flat_map(Request::bytes).collect();
            connection.send(&bytes).await.expect("Fairlead reads");
            for request in &requests {
                let answer = connection.answer(&request.method).await.expect("an answer for each");
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            ledger.note(world, "pipelined", true).await;
            ledger.check(world, &fairlead, "after seven pipelined requests").await;
            assert_eq!(world.mirror().await.len(), 5);
        })
        .await;
    report
        .case(&world.title("names: twins under the database's collation are what the database says they are"), async {
            let fairlead = world.fresh_fairlead("names").await;
            twins(world, &fairlead).await;
        })
        .await;
}

/// Spellings of the collection's path; `TAG` stands for nothing here.
const COLLECTION: &[&str] = &[
    "/credentials",
    "/credentials?",
    "/credentials?x=1",
    "/credentials?x=%zz",
    "/credentials/",
    "/credentials/?x",
    "/%63redentials",
    "/credential%73",
    "/%63%72%65%64%65%6e%74%69%61%6c%73",
    "/credential%73/",
    "/Credentials",
    "/CREDENTIALS",
    "/%43redentials",
    "/credentials%20",
    "/%20credentials",
    "/credentials.json",
    "/credentials/x/y",
    "/credentials//",
    "//credentials",
    "///credentials",
    "/./credentials",
    "/credentials/.",
    "/x/../credentials",
    "/credentials/x/..",
    "/%2e/credentials",
    "/credentials;x=1",
    "/;x/credentials",
    "/credentials%3Bx=1",
    "/%2563redentials",
    "/credentials%252f",
    "/credentials%25",
    "/credentials%0a",
    "/credentials%0d%0a",
    "/credentials%2F",
    "/%2Fcredentials",
    "/credentials%5c",
    "/credentials%00",
    "/credentials%E2%80%A8",
    "/%EF%BD%83redentials",
    "/%c0%a3redentials",
    "/credential\u{17f}",
    "http://spin-clouddriver:7002/credentials",
    "HTTP://spin-clouddriver:7002/credentials",
    "https://spin-clouddriver:7002/credentials",
    "http://spin-clouddriver:7002/%63redentials?x",
    "http://elsewhere:1/credentials",
    "/clouddriver/credentials",
    "/v1/credentials",
];

/// Targets that are no text, or that a library would repair.
fn raw_targets() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("%zz", b"/credentials%zz".to_vec()),
        ("a lone %", b"/credentials%".to_vec()),
        ("a backslash", b"/credentials\\".to_vec()),
        ("a backslash for a slash", b"\\credentials".to_vec()),
        ("a caret", b"/credentials^".to_vec()),
        ("a brace", b"/credentials{x}".to_vec()),
        ("a quote", b"/credentials\"".to_vec()),
        ("an angle", b"/credentials<".to_vec()),
        ("a pipe", b"/credentials|".to_vec()),
        ("raw UTF-8", "/credentials\u{e9}".as_bytes().to_vec()),
        ("raw Latin-1", b"/credentials\xe9".to_vec()),
        ("no slash", b"credentials".to_vec()),
        ("an asterisk", b"*".to_vec()),
        ("a fragment", b"/credentials#x".to_vec()),
        ("an empty fragment", b"/credentials#".to_vec()),
    ]
}

/// Accounts and spellings of their path; `TAG` is replaced.
const NAMED: &[(&str, &str)] = &[
    ("TAG", "/credentials/TAG"),
    ("TAG", "/credentials/TAG?"),
    ("TAG", "/credentials/TAG?x=1"),
    ("TAG", "/credentials/TAG/"),
    ("TAG", "/%63redentials/TAG"),
    ("TAG", "http://spin-clouddriver:7002/credentials/TAG"),
    ("TAGa", "/credentials/TAG%61"),
    ("TAGk", "/credentials/TAG%6B"),
    ("TAGk", "/credentials/TAG%6b/"),
    ("TAG b", "/credentials/TAG%20b"),
    ("TAG+b", "/credentials/TAG+b"),
    ("TAG+b", "/credentials/TAG%2Bb"),
    ("TAG.b", "/credentials/TAG.b"),
    ("TAG.", "/credentials/TAG."),
    ("TAG.json", "/credentials/TAG.json"),
    ("TAG:b", "/credentials/TAG:b"),
    ("TAG:b", "/credentials/TAG%3Ab"),
    ("TAG@b", "/credentials/TAG@b"),
    ("TAG@b", "/credentials/TAG%40b"),
    ("~TAG", "/credentials/~TAG"),
    ("~TAG", "/credentials/%7ETAG"),
    ("TAG*", "/credentials/TAG*"),
    ("TAG!$&'(),=", "/credentials/TAG!$&'(),="),
    ("TAGé", "/credentials/TAG%C3%A9"),
    ("TAG日本", "/credentials/TAG%E6%97%A5%E6%9C%AC"),
    ("TAG😀", "/credentials/TAG%F0%9F%98%80"),
    ("TAG?", "/credentials/TAG%3F"),
    ("TAG#", "/credentials/TAG%23"),
    ("TAG-_", "/credentials/TAG-_"),
    ("TAG/b", "/credentials/TAG%2Fb"),
    ("TAG;b", "/credentials/TAG;b"),
    ("TAG;b", "/credentials/TAG%3Bb"),
    ("TAG%b", "/credentials/TAG%25b"),
    ("TAG", "/credentials/TAG;x=1"),
    ("TAG", "/credentials;x=1/TAG"),
    ("TAG", "/credentials//TAG"),
    ("TAG", "/credentials/./TAG"),
    ("TAG", "/credentials/x/../TAG"),
    ("TAG", "/credentials/TAG//"),
    ("TAG", "/credentials/TAG/x"),
    ("TAG", "/credentials/TAG%20"),
    ("TAG", "/credentials/%20TAG"),
    ("TAG", "/credentials/TAG%00"),
    ("TAG", "/credentials/TAG%0a"),
    ("TAG", "/credentials/TAG%2f"),
    ("TAG", "/credentials/TAG%5c"),
    ("TAG", "/credentials/%2e/TAG"),
    ("TAG", "/credentials/TAG%c0%af"),
    ("TAG", "/credentials/TAG%E9"),
    ("TAG", "/credentials/type/TAG"),
    ("TAG", "/credentials/TAG/history"),
    ("TAG", "/credentials/TAG/authorized"),
    ("TAG", "/Credentials/TAG"),
    ("TAG", "/credentials/TAG.json"),
];

fn with_method(method: &'static str, target: &'static str) -> Case {
    Case::new(format!("{method} {target}"), Needs::Stored, move |n| {
        Request::new(method, &target.replace("TAG", n)).json(definition(n, "after").to_string())
    })
}

fn exact(label: &'static str, needs: Needs, bytes: impl Fn(&str) -> String + 'static) -> Case {
    Case::new(label, needs, move |n| Request { exact: Some(bytes(n).into_bytes()), ..Request::new("POST", "/credentials") })
}

fn with_header(label: &'static str, method: &'static str, headers: &'static [(&'static str, &'static str)]) -> Case {
    Case::new(label, if method == "POST" { Needs::Nothing } else { Needs::Stored }, move |n| {
        let target = if method == "DELETE" { format!("/credentials/{n}") } else { "/credentials".to_owned() };
        let mut request = Request::new(method, &target);
        if method != "DELETE" {
            request = request.json(definition(n, "after").to_string());
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request
    })
}

const CHUNKED: &str =
    "POST /credentials HTTP/1.1\r\nHost: spin-clouddriver:7002\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n";

fn methods() -> Vec<Case> {
    let body = |n: &str| definition(n, "after").to_string();
    let mut cases = vec![
        with_method("OPTIONS", "/credentials"),
        with_method("OPTIONS", "/credentials/TAG"),
        with_method("HEAD", "/credentials"),
        with_method("GET", "/credentials"),
        with_method("PATCH", "/credentials"),
        with_method("PATCH", "/credentials/TAG"),
        with_method("POST", "/credentials/TAG"),
        with_method("DELETE", "/credentials"),
        with_method("DELETE", "/credentials/"),
        with_method("post", "/credentials"),
        with_method("delete", "/credentials/TAG"),
        with_method("Put", "/credentials"),
        with_method("PROPFIND", "/credentials"),
        with_method("TRACE", "/credentials"),
        with_method("POST", "/credentials/type/kubernetes"),
        with_method("DELETE", "/credentials/type/TAG"),
        with_header("X-HTTP-Method-Override: DELETE", "PUT", &[("X-HTTP-Method-Override", "DELETE")]),
        with_header("X-HTTP-Method-Override: PUT on DELETE", "DELETE", &[("X-HTTP-Method-Override", "PUT")]),
        with_header("Accept: application/xml", "POST", &[("Accept", "application/xml")]),
        with_header("Accept: text/html", "POST", &[("Accept", "text/html")]),
        with_header("Accept: image/png", "POST", &[("Accept", "image/png")]),
        with_header("Accept-Encoding: gzip", "POST", &[("Accept-Encoding", "gzip")]),
        with_header("Expect: 100-continue", "POST", &[("Expect", "100-continue")]),
        with_header("Upgrade: h2c", "POST", &[("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA")]).upgraded_straight(),
        with_header("Upgrade: websocket", "POST", &[("Connection", "Upgrade"), ("Upgrade", "websocket")]),
        with_header("Upgrade on DELETE", "DELETE", &[("Connection", "Upgrade"), ("Upgrade", "websocket")]),
        with_header("Connection: close", "POST", &[("Connection", "close")]),
        with_header("If-Match", "PUT", &[("If-Match", "\"x\"")]),
        with_header("Origin (CORS)", "POST", &[("Origin", "http://elsewhere.example")]),
        with_header("X-Forwarded-Prefix", "POST", &[("X-Forwarded-Prefix", "/x")]),
        with_header("X-Original-URL", "DELETE", &[("X-Original-URL", "/nothing"), ("X-Rewrite-URL", "/nothing")]),
        exact("chunked", Needs::Nothing, move |n| {
            let body = body(n);
            format!("{CHUNKED}\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
        }),
        exact("chunked in pieces, with extensions and a trailer", Needs::Nothing, move |n| {
            let body = definition(n, "after").to_string();
            let (a, b) = body.split_at(25);
            format!("{CHUNKED}Trailer: X-T\r\n\r\n{:x};a=b;c=\"d\"\r\n{a}\r\n{:X}\r\n{b}\r\n0\r\nX-T: 1\r\n\r\n", a.len(), b.len())
        }),
        exact("HTTP/1.0", Needs::Nothing, move |n| {
            let body = definition(n, "after").to_string();
            format!("POST /credentials HTTP/1.0\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }),
        exact("DELETE with a body", Needs::Stored, move |n| {
            let body = definition(n, "after").to_string();
            format!("DELETE /credentials/{n} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }),
        exact("blanks after the document, counted in the length", Needs::Nothing, move |n| {
            let body = format!("{}{}", definition(n, "after"), " ".repeat(3000));
            format!("POST /credentials HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }),
        // Two lengths: one server would read the chunks, another the length, and the rest is a second request.
        exact("length and chunks, with a request hidden in the rest", Needs::Nothing, move |n| {
            let hidden = definition(&format!("{n}hidden"), "x").to_string();
            let hidden = format!(
                "POST /credentials HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{hidden}",
                hidden.len()
            );
            let body = format!("0\r\n\r\n{hidden}");
            format!("{CHUNKED}Content-Length: {}\r\n\r\n{body}", body.len())
        })
        .refused_here(),
        exact("two lengths", Needs::Nothing, move |n| {
            let body = definition(n, "after").to_string();
            let l = body.len();
            format!("POST /credentials HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {l}\r\nContent-Length: {}\r\n\r\n{body}", l - 1)
        })
        .refused_here(),
        exact("a length with a sign", Needs::Nothing, move |n| {
            let body = definition(n, "after").to_string();
            format!("POST /credentials HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: +{}\r\n\r\n{body}", body.len())
        })
        .refused_here(),
    ];
    cases.push(Case::new("a method override in the query", Needs::Stored, |n| {
        Request::new("POST", &format!("/credentials/{n}?_method=DELETE")).json(definition(n, "after").to_string())
    }));
    cases
}

/// `DELETE /credentials/type` deletes the account `type`.
async fn words(world: &World, fairlead: &crate::support::process::Fairlead) {
    let mut ledger = Ledger::default();
    let port = fairlead.setup.port;
    for name in ["type", "history", "authorized", "credentials", "armory", "null", "*", "kubernetes"] {
        expect(port, &super::world::post(name, "x"), 200).await;
        ledger.note(world, &format!("POST {name}"), true).await;
    }
    ledger.check(world, fairlead, "after eight POSTs").await;
    for name in ["type", "history", "authorized", "*"] {
        expect(port, &super::world::delete(name), 200).await;
        ledger.note(world, &format!("DELETE {name}"), false).await;
        ledger.check(world, fairlead, &format!("after DELETE {name}")).await;
    }
    // Clouddriver takes it; its loader stumbles over it, so it goes at once.
    let empty = send(port, &super::world::post("", "x")).await;
    ledger.note(world, "POST of an empty name", true).await;
    ledger.check(world, fairlead, &format!("after POST of an empty name ({})", empty.status)).await;
    world.admin().exec("delete from accounts where id = ''").await;
    world.admin().exec("delete from kubesvc_accounts where name = ''").await;
    ledger.note(world, "taking the empty name out by SQL", false).await;
    ledger.check(world, fairlead, "at the end").await;
}

/// From a name to its twin, and to the twin as a path has it.
type Twin = fn(&str) -> (String, String);

/// Table C5.
async fn twins(world: &World, fairlead: &crate::support::process::Fairlead) {
    let mut ledger = Ledger::default();
    let port = fairlead.setup.port;
    let forms: &[Twin] = &[
        |n| (n.to_uppercase(), n.to_uppercase()),
        |n| (format!("{n} "), format!("{n}%20")),
        |n| (n.replace('c', "\u{e7}"), n.replace('c', "%C3%A7")),
        |n| (n.replace('a', "\u{ff41}"), n.replace('a', "%EF%BD%81")),
        |n| (n.replace("ss", "\u{df}"), n.replace("ss", "%C3%9F")),
        |n| (n.replace('a', "a\u{301}"), n.replace('a', "a%CC%81")),
        |n| (format!("{n}\u{200b}"), format!("{n}%E2%80%8B")),
        |n| (n.replace('a', "\u{430}"), n.replace('a', "%D0%B0")),
    ];
    // The account, its twin by POST, by PUT, by PUT on its path, and the twin's DELETE; one step for all forms, then a look.
    let steps: Vec<[Request; 7]> = forms
        .iter()
        .enumerate()
        .map(|(i, form)| {
            let name = format!("accss{i}");
            let (twin, path) = form(&name);
            [
                super::world::post(&name, "1"),
                super::world::post(&twin, "2"),
                put(&twin, "3"),
                Request::new("PUT", &format!("/credentials/{path}")).json(definition(&twin, "4").to_string()),
                Request::new("DELETE", &format!("/credentials/{path}")),
                super::world::post(&twin, "5"),
                Request::new("DELETE", &format!("/credentials/{name}")),
            ]
        })
        .collect();
    for step in 0..7 {
        for (form, requests) in steps.iter().enumerate() {
            let request = &requests[step];
            let answer = send(port, request).await;
            let what = format!("twin {form}, step {step} ({} {})", request.method, answer.status);
            ledger.note(world, &what, request.method == "POST").await;
        }
        ledger.check(world, fairlead, &format!("after step {step}")).await;
    }
}
