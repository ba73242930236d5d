use crate::support::{Desk, SECRET, objects, secret};

#[test]
fn the_rebuilt_secret_is_the_one_that_was_sealed() {
    let desk = Desk::new();
    let manifest = "apiVersion: v1\nkind: Secret\nmetadata: {name: web, namespace: shop, labels: {a: b}, \
        annotations: {c: d}}\ntype: kubernetes.io/tls\nimmutable: true\ndata: {tls.crt: AP8=, tls.key: eA==}\n";
    desk.pipe(&["-R", "key.pub", "-w", "web.yaml"], manifest)
        .done();
    let answer = desk.seal(&["open", "-i", "key", "web.yaml"]).done();
    assert!(answer.stderr.is_empty());
    assert_eq!(objects(&answer.stdout), objects(manifest));
    let decoded = desk
        .seal(&["open", "-i", "key", "web.yaml", "--decode"])
        .done()
        .stdout;
    let object = &objects(&decoded)[0];
    assert_eq!(object["stringData"]["tls.key"], "x");
    assert_eq!(
        object["data"]["tls.crt"], "AP8=",
        "bytes that are no text stay base64"
    );
}

#[test]
fn one_value_comes_raw() {
    let desk = Desk::new();
    let manifest = "apiVersion: v1\nkind: Secret\nmetadata: {name: a, namespace: b}\ndata: {bin: AP8K, t: eA==}\n";
    desk.pipe(&["-R", "key.pub", "-w", "a.yaml"], manifest)
        .done();
    assert_eq!(
        desk.seal(&["open", "-i", "key", "-f", "a.yaml", "--key", "bin"])
            .done()
            .raw,
        [0, 255, 10]
    );
    let answer = desk.refused(
        &["open", "-i", "key", "a.yaml", "--key", "x"],
        "",
        3,
        "no key \"x\", a.yaml: SealedSecret b/a",
    );
    assert!(answer.stderr.contains("hint: its keys are bin, t"));
    desk.refused(
        &["open", "-i", "key", "a.yaml", "a.yaml", "--key", "t"],
        "",
        2,
        "--key needs a single object, 2 objects",
    );
}

#[test]
fn a_scope_survives_opening_and_sealing_again() {
    let desk = Desk::new();
    for scope in ["strict", "namespace-wide", "cluster-wide"] {
        let seal = ["-R", "key.pub", "--scope", scope];
        let sealed = desk.pipe(&seal, SECRET).done().stdout;
        let opened = desk.pipe(&["open", "-i", "key"], &sealed).done().stdout;
        let again = desk.pipe(&["-R", "key.pub"], &opened).done().stdout;
        assert_eq!(objects(&again)[0]["spec"]["scope"], scope);
        assert!(objects(&again)[0]["metadata"].get("annotations").is_none());
    }
    // What a Secret has no place for is told.
    let sealed = desk.sealed() + "  target: {creationPolicy: Orphan}\n";
    let answer = desk.pipe(&["open", "-i", "key"], &sealed).done();
    assert!(
        answer.stderr.contains("cannot hold spec.target"),
        "{answer:?}"
    );
}

#[test]
fn stdin_streams_and_the_environment_serve() {
    let mut desk = Desk::new();
    let stream = format!("{}---\n{}", desk.sealed(), desk.sealed());
    desk.refused(
        &["open"],
        &stream,
        2,
        "no private key to open the values with",
    );
    desk.set("SEALKIT_IDENTITY_FILE", "key");
    let answer = desk.pipe(&["open"], &stream).done();
    assert_eq!(objects(&answer.stdout).len(), 2);
    let json = desk.pipe(&["open", "-o", "json"], &stream).done().stdout;
    assert!(json.contains("\"kind\": \"List\""));
    desk.set("SEALKIT_IDENTITY_FILE", "");
    desk.seal(&["version"]).done();
}

#[test]
fn a_foreign_key_opens_nothing_and_says_so() {
    let desk = Desk::new();
    desk.seal(&["keys", "generate", "--classic", "-w", "other"])
        .done();
    desk.write("db.yaml", &desk.sealed());
    let answer = desk.refused(
        &["open", "-i", "other", "db.yaml"],
        "",
        4,
        "NoMatchingKey: envelope ",
    );
    assert!(
        answer.stderr.contains(&desk.fingerprint("key.pub")[..16]),
        "{}",
        answer.stderr
    );
    assert!(
        answer
            .stderr
            .contains("hint: give the private key of one of its recipients")
    );
    desk.seal(&["open", "-i", "other", "-i", "key", "db.yaml"])
        .done();
    // All or nothing: the good object of a stream is not printed.
    let other = desk
        .pipe(&["-r", public_of(&desk, "other").trim()], SECRET)
        .done()
        .stdout;
    desk.write("two.yaml", &format!("{}---\n{other}", desk.sealed()));
    desk.refused(
        &["open", "-i", "key", "two.yaml"],
        "",
        4,
        "two.yaml: document 2",
    );
}

#[test]
fn other_kinds_are_not_opened() {
    let desk = Desk::new();
    desk.write("plain.yaml", &secret("a", &[("k", "v")]));
    desk.refused(
        &["open", "-i", "key", "plain.yaml"],
        "",
        3,
        "not a SealedSecret of sealkit.dev",
    );
}

#[test]
fn a_passphrase_is_asked_for_on_a_terminal_only() {
    let desk = Desk::new();
    desk.write("db.yaml", &desk.sealed());
    desk.write("locked", "age-encryption.org/v1\n-> scrypt x 18\n");
    let text = "a passphrase is needed, but no terminal is available to ask for it, locked";
    desk.refused(&["open", "-i", "locked", "db.yaml"], "", 2, text);
}

#[cfg(target_os = "linux")]
#[test]
fn plaintext_does_not_land_in_a_work_tree() {
    use std::process::{Command, Stdio};
    let desk = Desk::new();
    desk.git_init();
    desk.write("db.yaml", &desk.sealed());
    desk.write(".gitignore", "*.secret\n");
    let open_into = |file: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_seal"));
        command
            .args(["open", "-i", "key", "db.yaml"])
            .current_dir(desk.work());
        let out = std::fs::File::create(desk.path(file)).unwrap();
        let output = command.stdout(out).stderr(Stdio::piped()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
            desk.read(file),
        )
    };
    let (code, stderr, text) = open_into("plain.yaml");
    assert_eq!((code, text.as_str()), (Some(3), ""), "{stderr}");
    assert!(stderr.contains("plaintext does not belong in a Git work tree"));
    let (code, _, text) = open_into("plain.secret");
    assert!(code == Some(0) && text.contains("kind: Secret"));
    let (code, _, text) = open_into("../tmp/plain.yaml");
    assert!(code == Some(0) && text.contains("kind: Secret"));
}

fn public_of(desk: &Desk, file: &str) -> String {
    let keys = sealkit_core::keys::parse_identity_file(&desk.read(file)).unwrap();
    keys[0].recipient().to_string()
}
