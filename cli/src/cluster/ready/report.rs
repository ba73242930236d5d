//! What a wait came to, for people and programs.

use std::time::Duration;

use jiff::SignedDuration;
use sealkit_core::names::printable;
use serde_json::{Value, json};

use super::{Board, Line, Outcome};
use crate::error::Result;
use crate::report::{Verdict, structured, table};
use crate::terminal::{Session, print, safe};

/// Reads the duration of a flag: `90s`, `5m`, `1h30m`.
pub(crate) fn duration(text: &str) -> std::result::Result<Duration, String> {
    let parsed: Option<SignedDuration> = text.parse().ok();
    let parsed = parsed.and_then(|duration| Duration::try_from(duration).ok());
    parsed.ok_or_else(|| "write it with units: 90s, 5m, 1h30m".to_owned())
}

/// So many objects.
pub(crate) fn objects(count: usize) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} object{ending}")
}

/// The report as one document. `ready` is true where the wait ended well.
pub(crate) fn as_json(outcome: Outcome, lines: &[Line]) -> Value {
    let objects: Vec<_> = lines.iter().map(Line::to_json).collect();
    json!({
        "ready": outcome == Outcome::Ready,
        "outcome": outcome.name(),
        "objects": objects,
    })
}

/// Prints what is not ready, or the whole report in the form asked for. `nothing` says that there
/// was no object.
pub(crate) fn report(
    outcome: Outcome,
    board: &Board,
    whole: &Value,
    nothing: &str,
    session: Session<'_>,
) -> Result<Verdict> {
    let Session { global, terminal } = session;
    let verdict = Verdict::clean_if(outcome == Outcome::Ready);
    if let Some(form) = global.output {
        print(structured(whole, form)?)?;
        return Ok(verdict);
    }
    let (ready, total) = (board.ready(), board.total());
    match outcome {
        Outcome::Ready if total == 0 => terminal.warning(nothing),
        Outcome::Ready => terminal.note(format_args!("{} ready", objects(total))),
        Outcome::Stalled | Outcome::TimedOut => {
            print(shown(outcome, &board.lines()))?;
            let why = if outcome == Outcome::Stalled {
                "what is stalled stays so until somebody changes it"
            } else {
                "time ran out"
            };
            terminal.warning(format_args!("{ready} of {} ready; {why}", objects(total)));
        }
    }
    Ok(verdict)
}

/// Where one is stalled, the others may only need more time: they are left out.
fn shown(outcome: Outcome, lines: &[Line]) -> String {
    let heading = ["NOT READY", "STATE", "REASON", "MESSAGE"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    let lines = lines.iter().filter(|line| match outcome {
        Outcome::Stalled => line.state == "Stalled",
        _ => !line.is_ready(),
    });
    rows.extend(lines.map(|line| {
        let reason = printable(&line.reason);
        vec![
            line.key.to_string(),
            line.state.to_owned(),
            if reason.is_empty() {
                "-".to_owned()
            } else {
                reason
            },
            safe(&line.message),
        ]
    }));
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_units() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("1h30m", 5400), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["5", "", "-5m", "soon", "5 parsecs"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
