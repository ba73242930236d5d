//! The texts that people turn to when Sealkit is gone, run as they stand.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_core::keys::{Identity, RecipientSet};
use sealkit_core::sealed::{Context, Scope, seal};
use zeroize::Zeroizing;

use crate::age_keys::TYPES;
use crate::peers::{go, python, run, tree};

#[test]
fn nine_lines_of_python_and_stock_age_recover_a_value() {
    let format = std::fs::read_to_string(tree("docs/design/format.md")).unwrap();
    let (_, section) = format.split_once("## 13. Break-glass recovery").unwrap();
    let (_, program) = section.split_once("```python\n").unwrap();
    let (program, _) = program.split_once("```").unwrap();
    assert_eq!(
        program.lines().count(),
        9,
        "docs/recover.md says nine lines"
    );
    for (key_type, _) in TYPES {
        let identity = Identity::generate(key_type);
        let set = RecipientSet::new([identity.recipient().clone()]).unwrap();
        let context = Context::new(Scope::Strict, "shop", "db").unwrap();
        let secret = "pässwörd\n".repeat(40);
        let value = Zeroizing::new(secret.clone().into_bytes());
        let values = BTreeMap::from([("DB_PASSWORD".to_owned(), value)]);
        let sealed = seal(&values, &context, &set, false).unwrap();

        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::write(place("unseal.py"), program).unwrap();
        std::fs::write(place("key.txt"), identity.to_secret_text().as_bytes()).unwrap();
        let file = BASE64_STANDARD.decode(&sealed.envelope.age_file).unwrap();
        let mut age = go("age", "age");
        let envelope = run(age.args(["-d", "-i"]).arg(place("key.txt")), &file);
        std::fs::write(place("envelope.json"), envelope).unwrap();
        let mut unseal = python();
        unseal.current_dir(folder.path());
        unseal.args(["unseal.py", "DB_PASSWORD", &sealed.values["DB_PASSWORD"]]);
        assert_eq!(run(&mut unseal, b""), secret.as_bytes());
    }
}
