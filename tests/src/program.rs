//! The programs under test.

use std::env;
use std::path::PathBuf;

/// The path of `seal` or `seal-controller`: in the folder `SEALKIT_BIN_DIR` names, else where cargo
/// puts it beside the test executable.
pub fn program(name: &str) -> PathBuf {
    let folder = env::var_os("SEALKIT_BIN_DIR").map_or_else(
        || {
            let test = env::current_exe().unwrap();
            // target/debug/deps/e2e-0123456789abcdef
            test.parent().unwrap().parent().unwrap().to_owned()
        },
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "no {}: cargo build --workspace first",
        path.display()
    );
    path
}
