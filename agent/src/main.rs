//! The `pictor-agent` program: reads flags, then hands over to the library.

use std::process::ExitCode;

use clap::Parser;
use pictor_agent::{
    cli::{self, Cli},
    config::ConfigError,
};
use pictor_telemetry::BadSetting;

/// `EX_CONFIG` of sysexits: a service manager need not try again.
const BAD_CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    pictor_blender::inner();
    cli::execute(Cli::parse()).unwrap_or_else(|error| {
        eprintln!("pictor-agent: {error:#}");
        let is_configuration = error.is::<ConfigError>() || error.is::<BadSetting>();
        if is_configuration { ExitCode::from(BAD_CONFIGURATION) } else { ExitCode::FAILURE }
    })
}
