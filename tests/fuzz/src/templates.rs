use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use sealkit_core::template::{TemplateError, Templates, limits};
use zeroize::Zeroizing;

use crate::{ALLOCATED, CANARY, says_nothing};

type Rendered = Result<BTreeMap<String, Zeroizing<Vec<u8>>>, TemplateError>;

fn render(text: &str, values: &[(&str, &[u8])]) -> Rendered {
    let texts = BTreeMap::from([("out".to_owned(), text.to_owned())]);
    Templates::parse(&texts)?.render(values.iter().copied())
}

/// A template renders within its bounds or is refused, and no refusal quotes a value.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let values: [(&str, &[u8]); 3] = [
        ("A", CANARY.as_bytes()),
        ("J", br#"{"a": [1, "b", {"c": null}], "n": 1.5}"#),
        ("L", b"one\ntwo"),
    ];
    match render(text, &values) {
        Ok(output) => assert!(output["out"].len() <= limits::OUTPUT_BYTES),
        Err(error) => says_nothing(&error.to_string()),
    }
}

/// Large values: a text, what multiplies in a replacement, and a list. The largest ones would only
/// slow down the search: loops and variables multiply these.
static LARGE: LazyLock<[(&str, Vec<u8>); 3]> = LazyLock::new(|| {
    [
        ("V", b"x".repeat(8_000)),
        ("R", b"$0${1}\\pL".repeat(400)),
        ("L", b"[1,\"a\n\"],".repeat(200)),
    ]
});

/// A render allocates no more than [`limits::MEMORY`], and takes no more time than its own plus
/// what one call of a function may take: whatever its text, over large values.
pub fn budget(bytes: &[u8]) {
    /// One call, such as a search with the largest regular expression.
    const ONE_CALL: Duration = Duration::from_millis(750);
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let values: Vec<(&str, &[u8])> = LARGE.iter().map(|(key, value)| (*key, &**value)).collect();
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    let start = time_of_thread();
    let rendered = render(text, &values);
    let time = time_of_thread().saturating_sub(start);
    let peak = ALLOCATED.peak_usage().saturating_sub(before);
    drop(rendered);
    assert!(peak <= limits::MEMORY, "{peak} bytes at once");
    assert!(time <= limits::TIME + ONE_CALL, "{time:?}");
}

/// Not the clock on the wall: other processes would count.
fn time_of_thread() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or_default();
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}
