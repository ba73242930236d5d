//! No plaintext ends up where it does not belong, whatever goes wrong.

use std::fmt::Write as _;

use base64::Engine as _;

use crate::support::{Answer, Desk, snapshot};

const CANARY: &str = "kanarie-7Hq2xVz9";

/// The canary in the forms that something might print.
fn forms() -> Vec<String> {
    let hex = CANARY.bytes().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    });
    let mut forms = vec![
        CANARY.to_owned(),
        hex.clone(),
        hex.to_uppercase(),
        CANARY.to_lowercase(),
    ];
    // Base64 at each of the three alignments: the middle is the same whatever stands around it.
    for shift in 0..3 {
        let shifted = format!("{}{CANARY}", "x".repeat(shift));
        let text = base64::prelude::BASE64_STANDARD.encode(shifted);
        forms.push(text[4..text.len() - 4].to_owned());
    }
    forms
}

fn clean(bytes: &[u8], place: &str) {
    let text = String::from_utf8_lossy(bytes);
    for form in forms() {
        assert!(!text.contains(&form), "{place} holds {form}");
    }
}

#[test]
fn the_canary_is_seen_when_it_is_there() {
    let seen = |text: &str| forms().iter().any(|form| text.contains(form));
    assert!(seen(CANARY) && !seen("a\nb"));
    for around in ["", "a", "ab", "abc"] {
        assert!(seen(
            &base64::prelude::BASE64_STANDARD.encode(format!("{around}{CANARY}{around}"))
        ));
    }
}

/// The verbs that change a file in place, when all goes well and when it does not.
#[test]
fn no_change_in_place_leaks_a_value() {
    let mut desk = Desk::new();
    desk.git_init();
    let good = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: db, namespace: shop}}\nstringData: {{a: {CANARY}}}\n"
    );
    desk.pipe(&["-R", "key.pub", "-w", "db.yaml"], &good).done();
    let broken = format!("printf 'kind: Secret\\nstringData: [{CANARY}' > \"$1\"");
    let editors = [
        "sh -c 'exit 1'",
        "false",
        "sh broken.sh",
        "sh change.sh",
        "true",
    ];
    std::fs::write(desk.root().join("home/broken.sh"), broken).unwrap();
    std::fs::write(
        desk.root().join("home/change.sh"),
        "sed -i 's/a:/b:/' \"$1\"",
    )
    .unwrap();
    let mut runs = Vec::new();
    for editor in editors {
        let home = desk.root().join("home").display().to_string();
        desk.set(
            "EDITOR",
            &editor
                .replace("sh b", &format!("sh {home}/b"))
                .replace("sh c", &format!("sh {home}/c")),
        );
        runs.push(desk.seal(&["edit", "db.yaml", "-i", "key", "-R", "key.pub", "-v"]));
    }
    desk.pipe(&["-R", "key.pub", "-w", "db.yaml"], &good);
    for arguments in [
        &["set", "db.yaml", "c", "-R", "key.pub", "-v"][..],
        &["set", "db.yaml", "a/b", "-R", "key.pub"],
        &["set", "db.yaml", "c", "-R", "none.pub"],
        &["set", "db.yaml", &format!("c={CANARY}"), "-R", "key.pub"],
        &["reseal", "-i", "key", "-v"],
        &["verify", "-i", "key", "-v"],
        &["diff", "db.yaml", "key.pub"],
        &["textconv", "db.yaml"],
        &["merge-driver", "db.yaml", "db.yaml", "db.yaml"],
        &["unset", "db.yaml", "none"],
        &["keys", "exposure", "--classic"],
    ] {
        runs.push(desk.pipe(arguments, CANARY));
    }
    for answer in &runs {
        clean(answer.stdout.as_bytes(), &format!("{answer:?}"));
        clean(answer.stderr.as_bytes(), &format!("{answer:?}"));
    }
    for folder in ["work", "tmp"] {
        for (path, bytes) in snapshot(&desk.root().join(folder)) {
            clean(&bytes, &path.display().to_string());
        }
    }
}

#[test]
fn no_run_leaks_a_value() {
    let desk = Desk::new();
    desk.git_init();
    let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\n";
    let encoded = base64::prelude::BASE64_STANDARD.encode(CANARY);
    let good = format!("{head}stringData: {{password: {CANARY}}}\ndata: {{other: {encoded}}}\n");
    let manifests = [
        good.clone(),
        format!("{good}---\n{good}"),
        format!("{good}---\n{{\"kind\": \"ConfigMap\", \"apiVersion\": \"v1\"}}\n"),
        good.replace("name: db", "name: \"\""),
        good.replace("namespace: shop", "x: y"),
        good.replace("kind: Secret", "kind: Secert"),
        good.replace("apiVersion: v1", "apiVersion: v7"),
        good.replace("stringData", "stringdata"),
        format!("{good}type: helm.sh/release.v1\n"),
        format!("{good}x: {CANARY}\n"),
        format!("{good}immutable: {CANARY}\n"),
        format!("{good}stringData: {{a: {CANARY}}}\n"),
        format!("{head}stringData: {{a: {CANARY}, a: {CANARY}}}\n"),
        format!("{head}stringData: {{a: [{CANARY}]}}\n"),
        format!("{head}stringData: [{CANARY}]\n"),
        format!("{head}stringData: {CANARY}\n"),
        format!("{head}data: {{a: {CANARY}}}\n"),
        format!("{head}data: {{a: \"{encoded}=\"}}\n"),
        format!("{head}stringData: {{a: \"{CANARY}\n"),
        format!("{head}stringData: {{a: {CANARY}: b}}\n"),
        format!("{head}stringData: {{a: *{CANARY}}}\n"),
        format!("{head}stringData: {{a: !!int {CANARY}}}\n"),
        format!("{head}\tstringData: {CANARY}\n"),
        format!("{CANARY}\n"),
        format!("- {CANARY}\n"),
        format!("%{CANARY}\n"),
        format!("{good}---\n{CANARY}: [\n"),
        format!("{head}stringData: {{a: {}}}\n", CANARY.repeat(90_000)),
        format!("kind: List\napiVersion: v1\nitems: {CANARY}\n"),
        format!("kind: List\napiVersion: v1\nitems: [{CANARY}]\n"),
    ];
    let flags: [&[&str]; 10] = [
        &["-R", "key.pub", "-v"],
        &["-R", "key.pub", "-v", "-o", "json"],
        &["-R", "key.pub", "-v", "-w", "out.yaml"],
        &["-R", "key.pub", "-v", "-w", "dir/"],
        &["-R", "key.pub", "-v", "-w", "/proc/x.yaml"],
        &["-R", "none.pub", "-v"],
        &["-v"],
        &[
            "-R",
            "key.pub",
            "-v",
            "--scope",
            "cluster-wide",
            "-n",
            "elsewhere",
        ],
        &["-R", "key.pub", "-v", "--name", "x", "--render"],
        &["--cluster", "a", "-v"],
    ];
    let check = |answer: &Answer, what: &str| {
        clean(answer.stdout.as_bytes(), &format!("stdout of {what}"));
        clean(answer.stderr.as_bytes(), &format!("stderr of {what}"));
        assert_ne!(answer.code, 70, "{what}: {}", answer.stderr);
    };
    let mut codes = std::collections::BTreeSet::new();
    for (index, manifest) in manifests.iter().enumerate() {
        for flags in flags {
            let answer = desk.pipe(flags, manifest);
            codes.insert(answer.code);
            check(&answer, &format!("manifest {index} with {flags:?}"));
        }
        let plain = desk.path("../plain.yaml");
        std::fs::write(&plain, manifest).unwrap();
        let plain = plain.to_str().unwrap();
        for arguments in [
            &["verify", "-v", plain][..],
            &["verify", "-v", "-o", "json", plain],
            &["open", "-v", "-i", "key", plain],
            &["-R", plain, "-v", "-f", "out.yaml"],
            &["open", "-v", "-i", plain, "out.yaml"],
            &[
                "init",
                "--no-recovery",
                "--cluster-key",
                &format!("a={plain}"),
            ],
            &["keys", "list", "-v", "--kubeconfig", plain],
            &["-v", "-R", "key.pub", "-f", "out.yaml", "-w", plain],
        ] {
            let answer = desk.pipe(arguments, manifest);
            codes.insert(answer.code);
            check(&answer, &format!("manifest {index} with {arguments:?}"));
        }
        assert_eq!(
            std::fs::read_to_string(plain).unwrap(),
            *manifest,
            "the source stays"
        );
        std::fs::remove_file(plain).unwrap();
    }
    assert!(
        [0, 1, 2, 3, 5].iter().all(|code| codes.contains(code)),
        "{codes:?}"
    );
    let answer = desk
        .seal(&["open", "-i", "key", "out.yaml", "--key", "password"])
        .done();
    assert_eq!(answer.stdout, CANARY, "it was there to be leaked");
    for (path, bytes) in snapshot(desk.root()) {
        clean(&bytes, &path.display().to_string());
    }
}
