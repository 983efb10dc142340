//! `pictor-registry`: see `--help`.

use std::process::ExitCode;

use clap::Parser;
use pictor_registry::cli::{self, Cli};
use pictor_registry::config::BadConfiguration;

const FAILED: u8 = 1;
/// `EX_CONFIG` of sysexits: a service manager need not try again.
const BAD_CONFIGURATION: u8 = 78;

#[tokio::main]
async fn main() -> ExitCode {
    let command = Cli::parse();
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("pictor-registry: TLS could not be set up");
        return FAILED.into();
    }
    match cli::run(command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pictor-registry: {error:#}");
            if error.is::<BadConfiguration>() { BAD_CONFIGURATION.into() } else { FAILED.into() }
        }
    }
}
