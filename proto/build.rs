//! Compiles the protos in Rust, so that no `protoc` need be installed.
use std::error::Error;

const PROTOS: [&str; 2] = ["sallyport/broker/v1/broker.proto", "sallyport/admin/v1/admin.proto"];

/// Messages that hold a secret themselves; `src/lib.rs` gives them a `Debug` that prints none of it (I9).
const SECRET: [&str; 7] = [
    "sallyport.admin.v1.CreateSignInLinkResponse",
    "sallyport.admin.v1.FingerprintRequest",
    "sallyport.admin.v1.IssueTokenResponse",
    "sallyport.admin.v1.SetSecretRequest",
    "sallyport.broker.v1.AcquireCredentialRequest",
    "sallyport.broker.v1.Header",
    "sallyport.broker.v1.SessionKeys",
];

fn main() -> Result<(), Box<dyn Error>> {
    let files = protox::compile(PROTOS, ["."])?;
    let mut messages = prost_build::Config::new();
    messages.skip_debug(SECRET);
    messages.btree_map(["sallyport.broker.v1.ExternalIdentity.claims"]);
    if std::env::var_os("CARGO_FEATURE_GRPC").is_some() {
        tonic_prost_build::configure().compile_fds_with_config(files, messages)?;
    } else {
        messages.compile_fds(files)?;
    }
    for proto in PROTOS {
        println!("cargo::rerun-if-changed={proto}");
    }
    Ok(())
}
