//! `seal-controller`. For its flags, see [`sealkit_controller::settings`].

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use sealkit_controller::{observe, render, run, settings::Settings, telemetry};

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
    if settings.observe {
        return forecast(&settings).await;
    }
    match run::run(settings).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ended");
            ExitCode::FAILURE
        }
    }
}

/// Prints what a take-over would change. Success means: nothing.
async fn forecast(settings: &Settings) -> ExitCode {
    match observe::observe(settings).await {
        Ok(forecasts) => {
            // Nobody reads any more: there is nobody to tell.
            let _ = writeln!(std::io::stdout(), "{forecasts}");
            ExitCode::from(u8::from(!forecasts.are_harmless()))
        }
        Err(error) => {
            tracing::error!(%error, "ended");
            ExitCode::FAILURE
        }
    }
}
