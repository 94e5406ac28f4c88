//! Compiles the channel's protocol, with a compiler that is a crate: nothing has to be installed.

// What cargo is told, it is told on standard output.
#![allow(clippy::print_stdout)]

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["fairlead/agent/v1/agent.proto"], ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    std::fs::write(out.join("descriptor.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().codec_path("crate::wire::Codec").compile_fds(descriptors)?;
    Ok(())
}
