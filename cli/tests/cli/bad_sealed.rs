use crate::support::{Desk, objects};

/// Sealed files that are wrong: `open` refuses, `verify` finds, neither changes a file.
#[test]
fn bad_sealed_files_are_refused() {
    let desk = Desk::new();
    // age pads its header at random; two cases need a key that ends in padding.
    let padded = |text: &String| {
        text.lines()
            .any(|line| line.contains("ageFile") && line.ends_with('='))
    };
    let good = std::iter::repeat_with(|| desk.sealed())
        .find(padded)
        .unwrap();
    let object = &objects(&good)[0];
    let id = object["spec"]["envelopes"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap()
        .clone();
    let value = object["spec"]["encryptedData"]["password"]
        .as_str()
        .unwrap()
        .to_owned();
    let key = object["spec"]["envelopes"][&id]["ageFile"]
        .as_str()
        .unwrap()
        .to_owned();
    let other_last = if value.ends_with('A') { "B" } else { "A" };
    let table = [
        (
            good.replace("scope: strict", "scope: everything"),
            "scope must be strict, namespace-wide or cluster-wide",
        ),
        (
            good.replace("scope: strict", "scope: strict\n  extra: 1"),
            "spec has an unknown field \"extra\"",
        ),
        (
            good.replace("      ageFile:", "      extra: 1\n      ageFile:"),
            "and nothing else",
        ),
        (
            good.replace(&value, &format!("{value}=")),
            "must be sk1.<envelope id>.<base64url>",
        ),
        (
            good.replace(&value, &value[..value.len() - 7]),
            "has an invalid size",
        ),
        (good.replace(&key, &format!("{key}AAAA")), "InvalidSpec"),
        (
            good.replace(&key, &key.replace('=', "")),
            "ageFile is not canonical base64",
        ),
        (
            good.replace(
                &format!("\"{id}\":"),
                "\"dkygiqm6nibo27suvpmyknuwvetd3o33\":",
            ),
            "which is missing",
        ),
        (
            good.replace("password:", "pass/word:"),
            "is not a key that Kubernetes allows",
        ),
        (
            good.replace("namespace: shop", "namespace: Shop"),
            "is not the name of a namespace",
        ),
    ];
    for (text, message) in &table {
        assert_ne!(text, &good, "{message}");
        desk.write("bad.yaml", text);
        let answer = desk.refused(&["open", "-i", "key", "bad.yaml"], "", 3, message);
        assert!(
            answer.stderr.contains("bad.yaml: SealedSecret "),
            "{}",
            answer.stderr
        );
        let answer = desk.seal(&["verify", "bad.yaml"]);
        assert_eq!(answer.code, 1, "{message}");
        assert!(
            answer.stdout.contains("InvalidSpec: ") && answer.stdout.contains(message),
            "{}",
            answer.stdout
        );
    }
    let moved = [
        (
            good.replace("name: db", "name: cache"),
            "ScopeMismatch: envelope",
        ),
        (
            good.replace("password:", "user:"),
            "DecryptFailed: value of \"user\" was altered or moved",
        ),
        (
            good.replace(
                &value,
                &format!("{}{other_last}", &value[..value.len() - 2]),
            ),
            "",
        ),
    ];
    for (text, message) in &moved[..2] {
        desk.write("moved.yaml", text);
        desk.refused(&["open", "-i", "key", "moved.yaml"], "", 4, message);
        assert_eq!(
            desk.seal(&["verify", "moved.yaml"]).code,
            0,
            "public text alone does not show it"
        );
        let answer = desk.seal(&["verify", "-i", "key", "moved.yaml"]);
        assert_eq!(answer.code, 1);
        assert!(answer.stdout.contains(message), "{}", answer.stdout);
    }
    desk.write("cut.yaml", &moved[2].0);
    assert_eq!(
        desk.seal(&["open", "-i", "key", "cut.yaml"]).code,
        3,
        "a cut value has an invalid size"
    );
}

#[test]
fn a_short_stanza_is_refused() {
    use base64::Engine as _;
    let desk = Desk::new();
    let good = desk.sealed();
    let object = &objects(&good)[0];
    let envelope = object["spec"]["envelopes"]
        .as_object()
        .unwrap()
        .values()
        .next()
        .unwrap();
    let key = envelope["ageFile"].as_str().unwrap();
    let base64 = base64::prelude::BASE64_STANDARD;
    let file = base64.decode(key).unwrap();
    let text = String::from_utf8_lossy(&file);
    let line = text.lines().nth(1).unwrap();
    let cut = line.len() - 4;
    let start = "age-encryption.org/v1\n".len();
    let mut short = file.clone();
    short.drain(start + cut..start + line.len());
    desk.write("short.yaml", &good.replace(key, &base64.encode(short)));
    desk.refused(
        &["open", "-i", "key", "short.yaml"],
        "",
        3,
        "a stanza of type X25519 has the wrong shape",
    );
}

#[test]
fn lying_hints_hide_nothing() {
    let desk = Desk::new();
    let truth = desk.fingerprint("key.pub");
    let lie = "0".repeat(32);
    desk.write("db.yaml", &desk.sealed().replace(&truth, &lie));
    let answer = desk.seal(&["open", "-i", "key", "db.yaml"]).done();
    assert!(answer.stdout.contains("password: aHVudGVyMg=="));
    assert!(
        answer.stderr.contains("warning: HintMismatch: "),
        "{}",
        answer.stderr
    );
    let answer = desk.seal(&["verify", "-i", "key", "db.yaml"]);
    assert_eq!(answer.code, 1);
    assert!(
        answer
            .stdout
            .starts_with("db.yaml: shop/db: HintMismatch: envelope "),
        "{}",
        answer.stdout
    );
}
