//! Durations as Go writes them.

use std::time::Duration;

use jiff::SignedDuration;

/// A duration as Go writes it, such as `1h0m0s`, `15s` or `0`. `None` if it is none.
pub fn duration(text: &str) -> Option<Duration> {
    if matches!(text, "" | "0") {
        return Some(Duration::ZERO);
    }
    let is_go = |byte: u8| byte.is_ascii_digit() || b".hmsnu".contains(&byte);
    let duration = text
        .bytes()
        .all(is_go)
        .then(|| text.parse::<SignedDuration>().ok())??;
    Duration::try_from(duration).ok()
}

/// The duration in the one form in which Go itself writes it, such as `24h0m0s` for `24h`. `None` if it
/// is none, or is no whole number of seconds.
pub fn canonical(text: &str) -> Option<String> {
    let whole = duration(text).filter(|duration| duration.subsec_nanos() == 0)?;
    let (hours, rest) = (whole.as_secs() / 3600, whole.as_secs() % 3600);
    let (minutes, seconds) = (rest / 60, rest % 60);
    Some(match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_is_that_of_go() {
        for (text, form) in [
            ("24h", "24h0m0s"),
            ("90m", "1h30m0s"),
            ("60s", "1m0s"),
            ("15s", "15s"),
            ("0", "0s"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(form), "{text}");
        }
        assert_eq!(canonical("1.5s"), None);
        assert_eq!(canonical("soon"), None);
    }

    #[test]
    fn durations_are_those_of_go() {
        let rows = [
            ("1h0m0s", Some(3600.0)),
            ("1h30m", Some(5400.0)),
            ("15s", Some(15.0)),
            ("300ms", Some(0.3)),
            ("1.5h", Some(5400.0)),
            ("0", Some(0.0)),
            ("0s", Some(0.0)),
            ("", Some(0.0)),
            ("1d", None),
            ("1 h", None),
            ("P1D", None),
            ("-1h", None),
            ("h", None),
            ("1", None),
        ];
        for (text, seconds) in rows {
            let parsed = duration(text).map(|duration| duration.as_secs_f64());
            assert_eq!(parsed, seconds, "{text}");
        }
    }
}
