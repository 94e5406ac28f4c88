//! Files: which are read, and how much of them.

use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Bytes of one configuration file.
const MAX_FILE: u64 = 4 << 20;

/// A file's name and text, in the order of laying over.
pub(super) type Texts = Vec<(String, String)>;

/// Reads the named files; each must be there.
pub(super) fn named(files: &[PathBuf]) -> (Texts, Vec<(String, String)>) {
    let (mut texts, mut mistakes) = (Vec::new(), Vec::new());
    for file in files {
        let name = file.display().to_string();
        match read_text(file, MAX_FILE) {
            Ok(text) => texts.push((name, text)),
            Err(why) => mistakes.push((name, format!("{why}: name a YAML file with --config"))),
        }
    }
    (texts, mistakes)
}

/// Reads what there is in the usual folders. A file that is not there is no mistake; one that cannot be read is.
pub(super) fn usual(folders: &[PathBuf], profiles: &[String]) -> (Texts, Vec<(String, String)>) {
    let (mut texts, mut mistakes) = (Vec::new(), Vec::new());
    // Spinnaker's own first, `fairlead.yml` of all folders last.
    for names in [&["spinnaker", "clouddriver"][..], &["fairlead"][..]] {
        for folder in folders {
            let plain = names.iter().map(|n| (*n).to_owned());
            let profiled = profiles.iter().flat_map(|p| names.iter().map(move |n| format!("{n}-{p}")));
            for name in plain.chain(profiled) {
                for ending in ["yaml", "yml"] {
                    let file = folder.join(format!("{name}.{ending}"));
                    match std::fs::symlink_metadata(&file) {
                        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {}
                        _ => match read_text(&file, MAX_FILE) {
                            Ok(text) => texts.push((file.display().to_string(), text)),
                            Err(why) => mistakes.push((file.display().to_string(), why)),
                        },
                    }
                }
            }
        }
    }
    (texts, mistakes)
}

/// A whole file as text.
///
/// # Errors
/// Why it cannot be read, to follow its name.
pub(super) fn read_text(path: &Path, most: u64) -> Result<String, String> {
    let cannot = |e: std::io::Error| format!("cannot be read ({e})");
    // A FIFO or a device could be waited for without end.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err("cannot be read (not a file)".into());
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(cannot)?.take(most + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > most {
        return Err(format!("is larger than {most} bytes"));
    }
    String::from_utf8(bytes).map_err(|e| format!("is not UTF-8 (at byte {})", e.utf8_error().valid_up_to()))
}
