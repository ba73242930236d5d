use std::collections::BTreeMap;

use sealkit_core::template::{Templates, limits};

use crate::{CANARY, says_nothing};

/// A template renders within its bounds or is refused, and no refusal quotes a value.
pub fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let texts = BTreeMap::from([("out".to_owned(), text.to_owned())]);
    let mut templates = match Templates::parse(&texts) {
        Ok(templates) => templates,
        Err(error) => return says_nothing(&error.to_string()),
    };
    let values: [(&str, &[u8]); 3] = [
        ("A", CANARY.as_bytes()),
        ("J", br#"{"a": [1, "b", {"c": null}], "n": 1.5}"#),
        ("L", b"one\ntwo"),
    ];
    match templates.render(values) {
        Ok(output) => assert!(output["out"].len() <= limits::OUTPUT_BYTES),
        Err(error) => says_nothing(&error.to_string()),
    }
}
