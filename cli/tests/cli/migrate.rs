//! What somebody brings along: files of other tools, plain Secrets, or nothing.

use crate::support::Step::{Hidden, See, Type};
use crate::support::{Desk, secret};

const SEALED_SECRETS: &str = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\n\
    metadata: {name: db, namespace: shop}\nspec: {encryptedData: {password: AgBy3i4OJSWK}}\n";
const SOPS: &str = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\n\
    stringData: {password: 'ENC[AES256_GCM,data:abc=,iv:aaa=,tag:bbb==,type:str]'}\n\
    sops: {lastmodified: '2026-01-01T00:00:00Z', mac: 'ENC[AES256_GCM,data:x,iv:a,tag:b,type:str]'}\n";

#[test]
fn files_of_other_tools_are_answered_with_the_command_that_moves_them() {
    let desk = Desk::new();
    for (text, what, way) in [
        (
            SEALED_SECRETS,
            "of Sealed Secrets",
            "kubectl get secret db -n shop -o yaml | seal -w",
        ),
        (SOPS, "encrypted by SOPS", "sops -d"),
    ] {
        desk.write("db.yaml", text);
        for arguments in [
            &["-f", "db.yaml", "-R", "key.pub"][..],
            &[
                "-f",
                "db.yaml",
                "-R",
                "key.pub",
                "-w",
                "db.yaml",
                "--in-place",
            ],
            &["open", "-i", "key", "db.yaml"],
            &["set", "db.yaml", "password", "-R", "key.pub"],
            &["unset", "db.yaml", "password"],
            &["edit", "-i", "key", "db.yaml", "-R", "key.pub"],
        ] {
            let answer = desk.refused(arguments, "", 3, what);
            assert!(answer.stderr.contains(way), "{arguments:?}: {answer:?}");
            assert!(answer.stderr.contains("docs/migrate.md"), "{answer:?}");
        }
        // They are not plain text.
        for verb in ["verify", "lint"] {
            let answer = desk.seal(&[verb, "db.yaml"]).done();
            assert_eq!(answer.stdout, "", "{verb}");
        }
    }
}

#[test]
fn a_plain_file_is_replaced_after_a_question() {
    let desk = Desk::new();
    desk.git_init();
    let plain = "# of the shop\napiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\n\
        stringData: {password: hunter2}\n";
    desk.write("db.yaml", plain);
    let convert = ["-f", "db.yaml", "-w", "db.yaml", "-R", "key.pub"];
    let answer = desk.refused(&convert, "", 2, "this would replace db.yaml");
    assert!(answer.stderr.contains("--in-place"), "{answer:?}");
    let no = desk.on_terminal(&convert, &[See("Continue? [y/N]"), Type("n\n")]);
    assert_eq!(
        (no.code, desk.read("db.yaml").as_str()),
        (2, plain),
        "{no:?}"
    );
    let yes = desk.on_terminal(&convert, &[See("Continue? [y/N]"), Type("y\n")]);
    assert_eq!(yes.code, 0, "{yes:?}");
    for said in [
        "comments of db.yaml are not taken over",
        "history still has them",
    ] {
        assert!(yes.stdout.contains(said), "{yes:?}");
    }
    assert!(!desk.read("db.yaml").contains("hunter2"));
    assert_eq!(desk.values("key", "db.yaml")["password"], "hunter2");
    desk.write(
        "two.yaml",
        &(plain.to_owned() + "---\n" + &secret("b", &[("k", "v")])),
    );
    desk.seal(&[
        "-f",
        "two.yaml",
        "-w",
        "two.yaml",
        "-R",
        "key.pub",
        "--in-place",
    ])
    .done();
    desk.seal(&["verify", "-i", "key", "two.yaml"]).done();
    assert_eq!(desk.hints("two.yaml").len(), 2);
}

#[test]
fn the_first_secret_needs_no_kubectl() {
    let desk = Desk::new();
    let create = [
        "create", "db", "-n", "shop", "-R", "key.pub", "-w", "secrets/",
    ];
    let typed = desk.on_terminal(
        &[&create[..], &["--key", "password"]].concat(),
        &[See("value of password"), Hidden, Type("hunter2\n")],
    );
    assert_eq!(typed.code, 0, "{typed:?}");
    assert_eq!(
        desk.values("key", "secrets/db.sealed.yaml")["password"],
        "hunter2"
    );
    // What exists is changed with another verb.
    let again = [&create[..], &["--key", "password"]].concat();
    let answer = desk.refused(&again, "x", 3, "exists and is never overwritten");
    assert!(
        answer
            .stderr
            .contains("seal set secrets/db.sealed.yaml KEY"),
        "{answer:?}"
    );
    desk.write("web.crt", "c");
    let tls = [
        "create",
        "web",
        "-n",
        "shop",
        "-R",
        "key.pub",
        "--type",
        "kubernetes.io/tls",
    ];
    let keys = [
        "--key",
        "tls.crt=@web.crt",
        "--key",
        "tls.key",
        "-w",
        "web.sealed.yaml",
    ];
    desk.pipe(&[&tls[..], &keys].concat(), "k").done();
    let values = desk.values("key", "web.sealed.yaml");
    assert_eq!(values, serde_json::json!({"tls.crt": "c", "tls.key": "k"}));
    assert!(
        desk.read("web.sealed.yaml")
            .contains("type: kubernetes.io/tls")
    );
    let leak = [
        "create",
        "a",
        "-n",
        "shop",
        "-R",
        "key.pub",
        "--key",
        "k=hunter2",
    ];
    let answer = desk.refused(&leak, "", 2, "a value on the command line");
    assert!(!answer.stderr.contains("hunter2"));
    let drawn = [
        "create",
        "a",
        "-n",
        "shop",
        "-R",
        "key.pub",
        "--key",
        "k",
        "--generate",
    ];
    assert!(desk.seal(&drawn).done().stdout.contains("k: sk1."));
}

/// What `--all-documents` writes can be opened again.
#[test]
fn documents_beside_sealed_ones_do_not_keep_them_closed() {
    let desk = Desk::new();
    let stream = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\n".to_owned()
        + &secret("db", &[("A", "1")]);
    desk.pipe(
        &["-R", "key.pub", "--all-documents", "-w", "all.yaml"],
        stream,
    )
    .done();
    assert_eq!(desk.values("key", "all.yaml")["A"], "1");
    assert_eq!(
        desk.seal(&["open", "-i", "key", "all.yaml", "--key", "A"])
            .done()
            .stdout,
        "1"
    );
}

#[test]
fn what_an_interrupted_run_left_is_removed_and_ignored() {
    let desk = Desk::new();
    desk.git_init();
    let left = ".seal-tmp-0123456789abcdef";
    let other = ".seal-tmp-notes";
    for name in [left, other] {
        desk.write(name, "x");
        let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        let file = std::fs::File::options()
            .write(true)
            .open(desk.path(name))
            .unwrap();
        file.set_modified(old).unwrap();
    }
    desk.seal(&["git", "install"]).done();
    let status = desk.git(&["status", "--porcelain"]);
    assert!(!status.contains(left) && status.contains(other), "{status}");
    desk.pipe(
        &["-R", "key.pub", "-w", "db.yaml"],
        secret("db", &[("A", "1")]),
    )
    .done();
    assert!(!desk.exists(left) && desk.exists(other));
}

#[test]
fn revisions_are_compared_key_by_key() {
    let desk = Desk::new();
    desk.git_init();
    desk.pipe(
        &["-R", "key.pub", "-w", "a.yaml"],
        secret("a", &[("A", "1"), ("B", "2")]),
    )
    .done();
    desk.commit("one");
    desk.pipe(&["set", "a.yaml", "A", "-R", "key.pub"], "3")
        .done();
    desk.pipe(
        &["-R", "key.pub", "-w", "b.yaml"],
        secret("b", &[("A", "1")]),
    )
    .done();
    let answer = desk.seal(&["diff", "HEAD"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let said = [
        "a.yaml:",
        "~ encryptedData.A",
        "b.yaml:",
        "+ encryptedData.A",
    ];
    assert!(
        said.iter().all(|said| answer.stdout.contains(said)),
        "{answer:?}"
    );
    assert!(!answer.stdout.contains("encryptedData.B"), "{answer:?}");
    desk.commit("two");
    assert_eq!(desk.seal(&["diff", "HEAD"]).code, 0);
    let answer = desk.seal(&["diff", "HEAD~1", "HEAD", "b.yaml"]);
    assert!(
        answer.code == 1 && !answer.stdout.contains("a.yaml"),
        "{answer:?}"
    );
    let answer = desk.seal(&["diff", "HEAD~1", "a.yaml"]);
    assert!(
        answer.code == 1 && !answer.stdout.contains("b.yaml"),
        "{answer:?}"
    );
    desk.refused(&["diff", "nowhere"], "", 3, "no such revision");
}

#[test]
fn words_of_other_tools_are_answered() {
    let desk = Desk::new();
    for (word, hint) in [
        ("encrypt", "seal -f FILE"),
        ("decrypt", "seal open"),
        ("updatekeys", "seal reseal"),
    ] {
        let answer = desk.refused(&[word], "", 2, hint);
        assert!(answer.stderr.contains("hint: "), "{answer:?}");
    }
    let help = desk.seal(&["help", "set"]).done();
    assert!(
        help.stdout.contains("seal set db.sealed.yaml PASSWORD"),
        "{help:?}"
    );
}

/// What HEAD has in plain text already, and what is meant to be so.
#[test]
fn the_doctor_finds_plain_secrets_unless_the_config_ignores_them() {
    let config = "version: 1\nclusters: {a: {recipients: [.sealkit/a.pub]}}\n";
    let desk = Desk::repository(&["a"], config);
    desk.write(
        "tests/fixtures/db.yaml",
        &secret("db", &[("A", "hunter2-hunter2")]),
    );
    desk.commit("begin");
    let doctor = ["doctor", "--offline"];
    let answer = desk.seal(&doctor);
    let found = "PlaintextSecret: Secrets in plain text in";
    assert!(
        answer.code == 1 && answer.stdout.contains(found),
        "{answer:?}"
    );
    for way in ["seal -f FILE -w FILE", "Git's history keeps the old ones"] {
        assert!(answer.stdout.contains(way), "{answer:?}");
    }
    assert_eq!(desk.seal(&["verify"]).code, 1);
    desk.write(
        ".sealkit.yaml",
        &(config.to_owned() + "ignore: [tests/fixtures/]\n"),
    );
    assert!(!desk.seal(&doctor).stdout.contains("PlaintextSecret"));
    desk.seal(&["verify"]).done();
    // A file that is named is meant.
    assert_eq!(desk.seal(&["verify", "tests/fixtures/db.yaml"]).code, 1);
}

#[test]
fn a_merge_that_nobody_resolved_is_told_as_one() {
    let desk = Desk::new();
    let text = desk.sealed();
    let conflict = text.replace("spec:", "<<<<<<< ours\nspec:\n=======\n>>>>>>> theirs");
    desk.write("db.yaml", &conflict);
    let line = conflict
        .lines()
        .position(|line| line.starts_with("<<<<"))
        .unwrap()
        + 1;
    let said = format!("an unresolved merge conflict at line {line}");
    desk.refused(
        &["set", "db.yaml", "password", "-R", "key.pub"],
        "x",
        3,
        &said,
    );
    let answer = desk.seal(&["verify", "db.yaml"]);
    assert!(
        answer.code == 1 && answer.stdout.contains(&said),
        "{answer:?}"
    );
}

#[test]
fn without_a_terminal_an_editor_has_to_be_named() {
    let desk = Desk::new();
    desk.write("db.yaml", &desk.sealed());
    let edit = [
        "setsid",
        "-w",
        env!("CARGO_BIN_EXE_seal"),
        "edit",
        "-i",
        "key",
        "db.yaml",
        "-R",
        "key.pub",
    ];
    let mut command = std::process::Command::new(edit[0]);
    command
        .args(&edit[1..])
        .current_dir(desk.work())
        .env_remove("VISUAL")
        .env_remove("EDITOR");
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(2) && said.contains("no terminal for an editor"),
        "{said}"
    );
}
