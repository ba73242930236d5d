use sealkit_controller::testing::parsed_answers;

use crate::{CANARY, says_nothing};

/// No answer of a provider breaks a parser, and no error quotes one.
pub fn answers(bytes: &[u8]) {
    for parsed in parsed_answers(bytes, "team/db") {
        match parsed {
            Ok(text) => drop(text),
            Err(message) => says_nothing(&message),
        }
    }
    // A key is what somebody wrote into a manifest: it is quoted, and harmless on a terminal.
    let key = String::from_utf8_lossy(bytes).replace(CANARY, "_");
    for message in parsed_answers(b"{}", &key)
        .into_iter()
        .filter_map(Result::err)
    {
        says_nothing(&message);
    }
}
