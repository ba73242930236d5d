//! Key files of Go's age and ours.

use sealkit_core::keys::{Identity, KeyType, parse_identity_file, parse_recipient_file};

use crate::peers::{go, outcome, text};

/// Both types, and how `age-keygen` is told to make them.
pub const TYPES: [(KeyType, &[&str]); 2] = [(KeyType::Hybrid, &["-pq"]), (KeyType::Classic, &[])];

#[test]
fn keys_of_age_keygen_are_read_and_named_alike() {
    for (key_type, arguments) in TYPES {
        let file = text(go("age", "age-keygen").args(arguments), b"");
        let keys = parse_identity_file(&file).unwrap();
        let [key] = keys.as_slice() else {
            panic!("{} keys", keys.len())
        };
        assert_eq!(key.recipient().key_type(), key_type);
        // Every byte of both texts: fingerprints are hashes of the recipient's.
        let recipient = key.recipient().to_string();
        assert!(
            file.contains(&format!("\n# public key: {recipient}\n")),
            "{recipient}"
        );
        assert!(file.ends_with(&format!("\n{}\n", *key.to_secret_text())));
        let derived = text(go("age", "age-keygen").arg("-y"), file.as_bytes());
        assert_eq!(derived, format!("{recipient}\n"));
        assert_eq!(
            &parse_recipient_file(&derived).unwrap(),
            &[key.recipient().clone()]
        );
    }
}

#[test]
fn keys_of_core_are_read_by_age_keygen_and_named_alike() {
    for (key_type, _) in TYPES {
        let keys: Vec<_> = (0..3).map(|_| Identity::generate(key_type)).collect();
        let mut file = "# three keys\n".to_owned();
        let mut recipients = String::new();
        for key in &keys {
            file.extend([key.to_secret_text().as_str(), "\n"]);
            recipients.extend([key.recipient().to_string().as_str(), "\n"]);
        }
        assert_eq!(
            text(go("age", "age-keygen").arg("-y"), file.as_bytes()),
            recipients
        );
    }
}

#[test]
fn recipients_of_two_types_share_no_file_in_age_either() {
    let [hybrid, classic] =
        TYPES.map(|(key_type, _)| Identity::generate(key_type).recipient().to_string());
    let output = outcome(go("age", "age").args(["-r", &hybrid, "-r", &classic]), b"x");
    assert!(!output.status.success());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("post-quantum"), "{stderr}");
}
