//! `seal-controller`. For its flags, see [`sealkit_controller::settings`].

use std::process::ExitCode;

use clap::Parser;
use sealkit_controller::{render, run, settings::Settings, telemetry};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some(render::ARGUMENT), Some(memory)) => render::serve(&memory),
        _ => control(),
    }
}

#[tokio::main]
async fn control() -> ExitCode {
    let settings = Settings::parse();
    telemetry::init_logs(&settings.log);
    telemetry::quiet_panics();
    // The whole process uses one TLS provider.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        tracing::error!("a TLS provider is already installed");
        return ExitCode::FAILURE;
    }
    match run::run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ended");
            ExitCode::FAILURE
        }
    }
}
