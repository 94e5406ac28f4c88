//! How the shipped program comes by the order of its functions (docs/adr/0008): what ran is written down, what is linked again works, and what
//! cannot be seen running is linked as ever.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::docs::root;
use super::support::process::folder;

/// Its functions stand in another order than they run in, one runs on a thread of its own, and one never does.
const PROGRAM: &str = r#"
#[inline(never)] pub fn never(n: usize) -> usize { std::hint::black_box(n) * 7 }
#[inline(never)] pub fn second(n: usize) -> usize { std::hint::black_box(n) * 5 }
#[inline(never)] pub fn first(n: usize) -> usize { std::hint::black_box(n) * 3 }
fn main() {
    let n = first(std::env::args().count());
    let n = std::thread::spawn(move || second(n)).join().unwrap();
    println!("{}", if n > 1_000_000 { never(n) } else { n });
}
"#;

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Compiles it, linked by `scripts/order/linker` and seen running by that script.
fn link(folder: &Path, train: &str) -> PathBuf {
    let (source, script, program) = (folder.join("program.rs"), folder.join("train"), folder.join("program"));
    fs::write(&source, PROGRAM).unwrap();
    fs::write(&script, format!("#!/bin/sh\n{train}\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut rustc = Command::new(std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned()));
    rustc.current_dir(root()).env("FAIRLEAD_ORDER_TRAIN", &script).arg(&source).arg("-o").arg(&program);
    rustc.args(["-C", "opt-level=1", "-C"]).arg(format!("linker={}", root().join("scripts/order/linker").display()));
    let output = rustc.output().expect("a compiler");
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(said(&Command::new(&program).output().unwrap()), "15\n");
    program
}

/// Where each of the functions lies.
fn places(program: &Path) -> [u64; 3] {
    let symbols = said(&Command::new("nm").arg("-C").arg(program).output().expect("nm"));
    ["first", "second", "never"].map(|name| {
        let line = symbols.lines().find(|line| line.ends_with(&format!(" program::{name}"))).unwrap_or_else(|| panic!("{name}: {symbols}"));
        u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
    })
}

#[test]
fn functions_that_ran_lie_together_in_the_order_in_which_they_ran() {
    let folder = folder("order-linked");
    let program = link(&folder, r#"cc -o "$1.tool" scripts/order/ran.c && "$1.tool" "$2" "$1""#);
    let list = fs::read_to_string(program.with_extension("ran")).unwrap();
    let at = |name: &str| list.lines().position(|line| line.contains(name));
    assert!(at("program5first").is_some() && at("program5first") < at("program6second") && at("program5never").is_none(), "{list}");
    let [first, second, never] = places(&program);
    // A few kilobytes of the standard library run in between.
    assert!(first < second && second < never, "{first:x} {second:x} {never:x}");
    let told = fs::read_to_string(program.with_extension("order")).unwrap();
    assert!(told.starts_with(&format!("{} functions lie in the order in which they ran first", list.lines().count())), "{told}");
}

#[test]
fn a_program_that_cannot_be_seen_running_is_linked_as_ever_and_it_is_said_why() {
    let program = link(&folder("order-plain"), "echo tracing is not allowed here >&2; exit 1");
    assert_eq!(
        fs::read_to_string(program.with_extension("order")).unwrap(),
        "not ordered, linked as ever: it could not be seen running: tracing is not allowed here\n"
    );
    assert!(!program.with_extension("ran").exists() && !program.with_extension("named").exists());
}

#[test]
fn all_that_a_fairlead_does_from_its_start_to_its_drain_is_seen_running() {
    let list = folder("order-trained").join("list");
    let train = Command::new(root().join("scripts/order/train")).arg(env!("CARGO_BIN_EXE_fairlead")).arg(&list).output().unwrap();
    assert!(train.status.success(), "{}", said(&train));
    let ran = fs::read_to_string(list).unwrap();
    let at = |part: &str| ran.find(part).unwrap_or_else(|| panic!("nothing of {part} ran"));
    let story = [
        "8fairlead6config4load",
        "8fairlead3app3App5start",
        "8fairlead5proxy4pass",
        "8fairlead9intercept6change",
        "8fairlead3app3App5drain",
    ];
    let places = story.map(at);
    assert!(places.is_sorted(), "{story:?} began at {places:?}");
}
