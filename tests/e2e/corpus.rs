//! Bodies and media types that Clouddriver's readers take or refuse, most of them in ways that no strict JSON parser does.
//!
//! What it does with each was first tried by hand on both generations. The ones that surprised:
//! - `application/xml` is read as well (the XML library is on the class path): an element whose *attributes* are `type` and `name`
//!   creates an account; the same as child elements is 400. So are `text/xml` and every `…+xml`.
//! - every `…+json` and every charset that Java knows is taken: ISO-8859-1, and EBCDIC (`IBM500`). For a charset whose name begins
//!   with `UTF-` the name is ignored and the bytes decide (UTF-8, UTF-16 and UTF-32 in both orders, with and without mark).
//! - `["kubernetes", {…}]` is one account (a wrapper array), not a batch.
//! - a name may be empty (row `''`, on which the loader of all accounts stumbles), hold NUL, a newline or a slash; a lone surrogate
//!   is stored as `?`, and the overlong form of a slash as a slash.
//! - `Content-Encoding: gzip` on plain JSON is ignored and taken; a body that really is compressed is 400.
//! - YAML, CBOR and Smile: known to the server (500) or not (415), never read; the generations differ.

use std::rc::Rc;

/// From an account's name and a mark to the bytes.
type Body = Rc<dyn Fn(&str, &str) -> Vec<u8>>;

/// A body for any account name and mark, and how it is labelled.
#[derive(Clone)]
pub struct Odd {
    pub label: &'static str,
    /// `Content-Type`; none is sent where it is `None`.
    pub media: Option<&'static str>,
    pub encoding: Option<&'static str>,
    pub body: Body,
    /// PostgreSQL cannot store it; or the name cannot stand in a path.
    pub only_create: bool,
}

fn odd(label: &'static str, media: impl Into<Option<&'static str>>, body: impl Fn(&str, &str) -> Vec<u8> + 'static) -> Odd {
    Odd { label, media: media.into(), encoding: None, body: Rc::new(body), only_create: false }
}

const JSON: &str = "application/json";

fn plain(name: &str, mark: &str) -> String {
    format!(r#"{{"type":"kubernetes","name":"{name}","kubeconfigContents":"apiVersion: v1\nkind: Config\n","namespaces":["{mark}"]}}"#)
}

/// A document with `NAME` and `MARK` in it.
fn text(label: &'static str, document: &'static str) -> Odd {
    odd(label, JSON, move |n, m| document.replace("NAME", n).replace("MARK", m).into_bytes())
}

fn media(media: &'static str) -> Odd {
    odd(media, media, |n, m| plain(n, m).into_bytes())
}

fn utf16(text: &str, big: bool) -> Vec<u8> {
    text.encode_utf16().flat_map(|u| if big { u.to_be_bytes() } else { u.to_le_bytes() }).collect()
}

fn utf32(text: &str, big: bool) -> Vec<u8> {
    text.chars().flat_map(|c| if big { (c as u32).to_be_bytes() } else { (c as u32).to_le_bytes() }).collect()
}

fn with_mark(mark: &[u8], rest: Vec<u8>) -> Vec<u8> {
    [mark.to_vec(), rest].concat()
}

/// EBCDIC (code page 500) for the characters that our documents have.
fn ebcdic(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| match c {
            'a'..='i' => 0x81 + (c as u8 - b'a'),
            'j'..='r' => 0x91 + (c as u8 - b'j'),
            's'..='z' => 0xa2 + (c as u8 - b's'),
            'A'..='I' => 0xc1 + (c as u8 - b'A'),
            'J'..='R' => 0xd1 + (c as u8 - b'J'),
            'S'..='Z' => 0xe2 + (c as u8 - b'S'),
            '0'..='9' => 0xf0 + (c as u8 - b'0'),
            '{' => 0xc0,
            '}' => 0xd0,
            '[' => 0x4a,
            ']' => 0x5a,
            '"' => 0x7f,
            ':' => 0x7a,
            ',' => 0x6b,
            '-' => 0x60,
            _ => 0x40,
        })
        .collect()
}

fn cbor(name: &str, mark: &str) -> Vec<u8> {
    let text = |s: &str| [vec![0x78, u8::try_from(s.len()).expect("short")], s.as_bytes().to_vec()].concat();
    [vec![0xa3], text("type"), text("kubernetes"), text("name"), text(name), text("namespaces"), vec![0x81], text(mark)].concat()
}

/// The corpus for `POST /credentials` and `PUT /credentials`.
pub fn bodies() -> Vec<Odd> {
    let mut all = vec![odd("no content type", None, |n, m| plain(n, m).into_bytes())];
    all.extend(
        [
            JSON,
            "application/json; charset=UTF-8",
            "application/json;charset=UTF-16",
            "application/json; charset=ISO-8859-1",
            "application/json;charset=us-ascii",
            "application/json;charset=\"utf-8\"",
            "application/json;charset=bogus",
            "application/json;",
            "application/json;x=\"a,b\"",
            "APPLICATION/JSON",
            "application/vnd.spinnaker+json",
            "application/problem+json",
            "application/x+json;q=0.1",
            "application/*+json",
            "application/*",
            "*/*",
            "text/json",
            "text/plain",
            "json",
            "",
            "application/json, text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "application/octet-stream",
            "application/yaml",
            "application/cbor",
            "application/x-jackson-smile",
            "application/xml",
            "application/javascript",
            "application/x-ndjson",
        ]
        .map(media),
    );
    all.extend(encodings());
    all.extend(documents());
    all
}

fn encodings() -> Vec<Odd> {
    vec![
        odd("UTF-8 with mark", JSON, |n, m| with_mark(b"\xef\xbb\xbf", plain(n, m).into_bytes())),
        odd("UTF-16LE", JSON, |n, m| utf16(&plain(n, m), false)),
        odd("UTF-16BE", JSON, |n, m| utf16(&plain(n, m), true)),
        odd("UTF-16LE with mark", JSON, |n, m| with_mark(b"\xff\xfe", utf16(&plain(n, m), false))),
        odd("UTF-16BE with mark", JSON, |n, m| with_mark(b"\xfe\xff", utf16(&plain(n, m), true))),
        odd("UTF-16 and said so", "application/json;charset=UTF-16", |n, m| utf16(&plain(n, m), true)),
        odd("UTF-16 and UTF-8 said", "application/json;charset=UTF-8", |n, m| utf16(&plain(n, m), true)),
        odd("UTF-32LE", JSON, |n, m| utf32(&plain(n, m), false)),
        odd("UTF-32BE", JSON, |n, m| utf32(&plain(n, m), true)),
        odd("EBCDIC and said so", "application/json;charset=IBM500", |n, m| {
            // The kubeconfig of the others has characters that the small table above lacks.
            ebcdic(&format!(r#"{{"type":"kubernetes","name":"{n}","namespaces":["{m}"]}}"#))
        }),
        odd("ISO-8859-1 name and said so", "application/json;charset=ISO-8859-1", |n, m| {
            [format!(r#"{{"type":"kubernetes","namespaces":["{m}"],"name":"{n}"#).as_bytes(), b"\xe9\"}"].concat()
        }),
        odd("ISO-8859-1 name, unsaid", JSON, |n, m| {
            [format!(r#"{{"type":"kubernetes","namespaces":["{m}"],"name":"{n}"#).as_bytes(), b"\xe9\"}"].concat()
        }),
        odd("overlong slash in the name", JSON, |n, m| {
            [format!(r#"{{"type":"kubernetes","namespaces":["{m}"],"name":"{n}"#).as_bytes(), b"\xc0\xaf\"}"].concat()
        }),
        odd("XML with attributes", "application/xml", |n, _| format!(r#"<a type="kubernetes" name="{n}" context="MARK"/>"#).into_bytes()),
        odd("XML with attributes as text/xml", "text/xml", |n, m| {
            format!(r#"<?xml version="1.0"?><a type="kubernetes" context="{m}"><name>{n}</name></a>"#).into_bytes()
        }),
        odd("XML with attributes as +xml", "application/vnd.x+xml;charset=UTF-8", |n, m| {
            format!(r#"<a type='kubernetes' name='{n}' context='{m}'/>"#).into_bytes()
        }),
        odd("XML in UTF-16", "application/xml", |n, m| {
            with_mark(b"\xfe\xff", utf16(&format!(r#"<a type="kubernetes" name="{n}" context="{m}"/>"#), true))
        }),
        odd("XML with entities in the name", "application/xml", |n, m| {
            format!(r#"<a type="kubernetes" context="{m}" name="&#x{:x};{}"/>"#, n.as_bytes()[0], &n[1..]).into_bytes()
        }),
        odd("XML with elements only", "application/xml", |n, _| format!("<a><type>kubernetes</type><name>{n}</name></a>").into_bytes()),
        odd("XML as JSON", JSON, |n, _| format!(r#"<a type="kubernetes" name="{n}"/>"#).into_bytes()),
        odd("JSON as XML", "application/xml", |n, m| plain(n, m).into_bytes()),
        odd("YAML", "application/yaml", |n, _| format!("type: kubernetes\nname: {n}\n").into_bytes()),
        odd("YAML as x-yaml", "application/x-yaml", |n, _| format!("type: kubernetes\nname: {n}\n").into_bytes()),
        odd("YAML as JSON", JSON, |n, _| format!("type: kubernetes\nname: {n}\n").into_bytes()),
        odd("CBOR", "application/cbor", cbor),
        odd("CBOR as JSON", JSON, cbor),
        Odd { encoding: Some("gzip"), ..odd("gzip said, plain sent", JSON, |n, m| plain(n, m).into_bytes()) },
        Odd { encoding: Some("identity"), ..odd("identity said", JSON, |n, m| plain(n, m).into_bytes()) },
        // An empty stored block, then the text: enough of a gzip stream to look like one.
        Odd { encoding: Some("gzip"), ..odd("gzip sent", JSON, |n, m| gzip(plain(n, m).as_bytes())) },
    ]
}

/// A gzip stream of one stored block; the check sum is computed, so that it would be read if anybody decoded it.
fn gzip(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).expect("short");
    let mut crc = !0_u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1];
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(data);
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

fn documents() -> Vec<Odd> {
    let mut all = vec![
        text("type after name", r#"{"name":"NAME","namespaces":["MARK"],"type":"kubernetes"}"#),
        text("blanks around", "\n\t {\"type\":\"kubernetes\",\"name\":\"NAME\",\"namespaces\":[\"MARK\"]}\r\n\n  "),
        text("escaped key of the name", r#"{"type":"kubernetes","n\u0061me":"NAME","namespaces":["MARK"]}"#),
        text("escaped key of the type", r#"{"t\u0079pe":"kubernetes","name":"NAME","namespaces":["MARK"]}"#),
        text("escaped type", r#"{"type":"kubernet\u0065s","name":"NAME","namespaces":["MARK"]}"#),
        text("escaped name", r#"{"type":"kubernetes","name":"NAME\u002dx","namespaces":["MARK"]}"#),
        text("two names, the last wins", r#"{"type":"kubernetes","name":"NAMEa","name":"NAME","namespaces":["MARK"]}"#),
        text("two names, one escaped", r#"{"type":"kubernetes","name":"NAMEa","\u006eame":"NAME","namespaces":["MARK"]}"#),
        text("two types, the first wins", r#"{"type":"kubernetes","type":"aws","name":"NAME","namespaces":["MARK"]}"#),
        text("two types, the first is another", r#"{"type":"aws","type":"kubernetes","name":"NAME"}"#),
        text("a name inside before", r#"{"x":{"type":"aws","name":"other"},"type":"kubernetes","name":"NAME","namespaces":["MARK"]}"#),
        text("a name inside after", r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"],"x":{"name":"other"}}"#),
        text("garbage after", r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"]} xyz"#),
        text("a second document", r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"]}{"type":"kubernetes","name":"NAMEsecond"}"#),
        text("a wrapper array", r#"["kubernetes",{"name":"NAME","namespaces":["MARK"]}]"#),
        text("an array of one (no batches)", r#"[{"type":"kubernetes","name":"NAME"}]"#),
        text("an array of two (no batches)", r#"[{"type":"kubernetes","name":"NAME"},{"type":"kubernetes","name":"NAMEb"}]"#),
        text("a wrapper object", r#"{"kubernetes":{"name":"NAME"}}"#),
        text("wrapped", r#"{"account":{"type":"kubernetes","name":"NAME"}}"#),
        text("a string", r#""NAME""#),
        text("null", "null"),
        text("nothing", ""),
        text("half a document", r#"{"type":"kubernetes","name":"NAME","namesp"#),
        text("name with a number's look", r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"],"cacheThreads":"3"}"#),
        text("name in an array", r#"{"type":"kubernetes","name":["NAME"]}"#),
        text("name in an object", r#"{"type":"kubernetes","name":{"a":"NAME"}}"#),
        text("name null", r#"{"type":"kubernetes","name":null}"#),
        text("name, then null", r#"{"type":"kubernetes","name":"NAME","name":null}"#),
        text("null, then name", r#"{"type":"kubernetes","name":null,"name":"NAME","namespaces":["MARK"]}"#),
        text("Name", r#"{"type":"kubernetes","Name":"NAME"}"#),
        text("accountName", r#"{"type":"kubernetes","accountName":"NAME"}"#),
        text("@type", r#"{"@type":"kubernetes","name":"NAME"}"#),
        text("TYPE", r#"{"TYPE":"kubernetes","name":"NAME"}"#),
        text("type Kubernetes", r#"{"type":"Kubernetes","name":"NAME"}"#),
        text("type with a blank", r#"{"type":"kubernetes ","name":"NAME"}"#),
        text("type a number", r#"{"type":1,"name":"NAME"}"#),
        text("type null", r#"{"type":null,"name":"NAME"}"#),
        text("no type", r#"{"name":"NAME"}"#),
        text("type aws", r#"{"type":"aws","name":"NAME","accountId":"1"}"#),
        text("type dockerRegistry", r#"{"type":"dockerRegistry","name":"NAME","address":"https://registry.example"}"#),
        text("type google", r#"{"type":"google","name":"NAME","project":"p"}"#),
        text(
            "type a class",
            r#"{"type":"com.netflix.spinnaker.clouddriver.kubernetes.config.KubernetesAccountProperties$ManagedAccount","name":"NAME"}"#,
        ),
        text("single quotes", "{'type':'kubernetes','name':'NAME'}"),
        text("unquoted keys", r#"{type:"kubernetes",name:"NAME"}"#),
        text("comments", "/*x*/{\"type\":\"kubernetes\",//y\n\"name\":\"NAME\"}"),
        text("YAML comment", "{\"type\":\"kubernetes\",#y\n\"name\":\"NAME\"}"),
        text("comma at the end", r#"{"type":"kubernetes","name":"NAME",}"#),
        text("NaN", r#"{"type":"kubernetes","name":"NAME","cacheThreads":NaN}"#),
        text("1e400", r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"],"zzz":1e400}"#),
        text("leading zero", r#"{"type":"kubernetes","name":"NAME","cacheThreads":03}"#),
        text("number for text", r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"],"context":17}"#),
        text("fraction for whole", r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"],"cacheThreads":3.7}"#),
        text("text for truth", r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"],"debug":"true"}"#),
        text("text for list", r#"{"type":"kubernetes","name":"NAME","namespaces":"MARK"}"#),
        text("tab in the name", "{\"type\":\"kubernetes\",\"name\":\"NAME\tx\"}"),
        text("form feed before", "\u{c}{\"type\":\"kubernetes\",\"name\":\"NAME\"}"),
        text("unknown property", r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"],"zoneId":"z","x":{"y":[1]}}"#),
        text("both lists of namespaces", r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"],"omitNamespaces":["b"]}"#),
        text(
            "a secret reference",
            r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"],"kubeconfigContents":"encrypted:noop!v:abc"}"#,
        ),
        text(
            "a secret that does not resolve",
            r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"],"kubeconfigContents":"encrypted:nosuch!v:abc"}"#,
        ),
        text("a program to run", r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK"],"kubectlExecutable":"/bin/true"}"#),
        text(
            "all kinds of values",
            r#"{"type":"kubernetes","name":"NAME","namespaces":["MARK","é","\ud83d\ude00","\u2028","a/b","a\/b"],"permissions":{"READ":["Dev "],"WRITE":[]},"customResources":[{"kubernetesKind":"K"}],"cacheIntervalSeconds":9007199254740993}"#,
        ),
    ];
    for (label, depth) in [("nested 126", 126), ("nested 900", 900), ("nested 1500", 1500)] {
        all.push(odd(label, JSON, move |n, m| {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"type":"kubernetes","name":"{n}","namespaces":["{m}"],"z":{open}{close}}}"#).into_bytes()
        }));
    }
    // Larger than the inspection limit (1 MiB): it streams through, and the row decides. The name comes first, and last.
    all.push(odd("2 MiB, name first", JSON, |n, m| {
        format!(r#"{{"type":"kubernetes","name":"{n}","namespaces":["{m}"],"kubeconfigContents":"{}"}}"#, "x".repeat(2 << 20)).into_bytes()
    }));
    all.push(odd("2 MiB, name last", JSON, |n, m| {
        format!(r#"{{"type":"kubernetes","kubeconfigContents":"{}","namespaces":["{m}"],"name":"{n}"}}"#, "x".repeat(2 << 20)).into_bytes()
    }));
    for (label, document) in [
        ("number as name", r#"{"type":"kubernetes","name":71DIGITS,"namespaces":["MARK"]}"#),
        ("number with exponent as name", r#"{"type":"kubernetes","name":7.1e1DIGITS}"#),
        ("name with NUL", r#"{"type":"kubernetes","name":"NAME\u0000x"}"#),
        ("name with newline", r#"{"type":"kubernetes","name":"NAME\nx"}"#),
        ("name with slash", r#"{"type":"kubernetes","name":"NAME/x"}"#),
        ("name with a lone surrogate", r#"{"type":"kubernetes","name":"NAME\ud800x"}"#),
        ("name with a pair", r#"{"type":"kubernetes","name":"NAME\ud83d\ude00"}"#),
        ("name with quotes", r#"{"type":"kubernetes","name":"NAME'\"\\ ;--"}"#),
        ("name of 255", r#"{"type":"kubernetes","name":"NAMELONG255"}"#),
        ("name of 300", r#"{"type":"kubernetes","name":"NAMELONG300"}"#),
    ] {
        all.push(Odd {
            only_create: true,
            ..odd(label, JSON, move |n, m| {
                let digits: String = n.bytes().map(|b| char::from(b'0' + b % 10)).collect();
                document
                    .replace("LONG255", &"x".repeat(255 - n.len()))
                    .replace("LONG300", &"x".repeat(300 - n.len()))
                    .replace("DIGITS", &digits)
                    .replace("NAME", n)
                    .replace("MARK", m)
                    .into_bytes()
            })
        });
    }
    all
}
