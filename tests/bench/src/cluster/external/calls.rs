//! How often a store is asked: at the first sync, and within a later interval.

use std::time::Duration;

use super::super::contestant::Contestant as _;
use super::super::trial::{Load, stop};
use super::contestant::External;
use super::vault::Calls;
use crate::{Result, progress};

/// The interval of the objects, as they spell it.
pub const INTERVAL: &str = "1m";
/// The same.
const LATER: Duration = Duration::from_mins(1);
/// Between the first sync and the later interval: the objects have come to rest.
const SETTLE: Duration = Duration::from_secs(10);

/// The calls until all objects are in sync, and those within one interval afterwards.
pub async fn count(contestant: &External, load: Load) -> Result<(Calls, Calls)> {
    let name = contestant.name();
    let (_plane, mut process) = contestant.in_sync(load).await?;
    let first = contestant.calls()?;
    progress(format_args!("  {name}: first sync: {first}"));
    tokio::time::sleep(SETTLE).await;
    let before = contestant.calls()?;
    tokio::time::sleep(LATER).await;
    let later = contestant.calls()? - before;
    progress(format_args!("  {name}: later interval: {later}"));
    if !process.is_running() {
        return Err(format!("it ended, see {}", process.log_path().display()).into());
    }
    stop(&mut process)?;
    Ok((first, later))
}
