use crate::support::{Desk, SECRET, secret};

/// Manifests that are refused, each with the message; a good file is there already.
#[test]
fn bad_manifests_are_refused_and_nothing_is_lost() {
    let desk = Desk::new();
    desk.pipe(&["-R", "key.pub", "-w", "db.yaml"], SECRET)
        .done();
    let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\n";
    let level = |n: usize| format!("a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(10));
    let bomb =
        "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned() + &(1..9).map(level).collect::<String>();
    let deep = format!("{head}x: {}", "[".repeat(10_000));
    let table: Vec<(String, &str)> = vec![
        (String::new(), "contains no document, stdin"),
        ("just words".into(), "document 1 is not a Kubernetes object"),
        ("a: b: c".into(), "not valid YAML at line 1"),
        ("{\"kind\": \"Secret\"".into(), "not valid YAML at line"),
        ("a:\n\t- x".into(), "not valid YAML at line"),
        (bomb, "too deep, too many nodes or too many aliases"),
        (deep, "not valid YAML at line 4"),
        (
            format!("{head}stringData: {{a: x, a: y}}\n"),
            "a map has the same key twice",
        ),
        (
            format!("{head}stringData: {{1: x, '1': y}}\n"),
            "a map has the same key twice",
        ),
        (
            format!("{head}stringData: {{a: 12345}}\n"),
            "stringData[\"a\"] must be a string, in quotes, stdin: Secret shop/db",
        ),
        (
            format!("{head}stringData: {{a: true}}\n"),
            "must be a string, in quotes",
        ),
        (
            format!("{head}stringData: {{a: [x]}}\n"),
            "must be a string, in quotes",
        ),
        (
            format!("{head}stringData: [a]\n"),
            "stringData must be a map",
        ),
        (
            format!("{head}data: {{a: 'not base64!'}}\n"),
            "data[\"a\"] is not base64",
        ),
        (
            format!("{head}data: {{a: YWE}}\n"),
            "data[\"a\"] is not base64",
        ),
        (head.into(), "has no values: neither data nor stringData"),
        (
            format!("{head}data: {{}}\nstringData: {{}}\n"),
            "has no values",
        ),
        (
            format!("{head}stringData: {{'a/b': x}}\n"),
            "the key \"a/b\" is not allowed",
        ),
        (format!("{head}stringData: {{'..': x}}\n"), "is not allowed"),
        (format!("{head}stringData: {{'': x}}\n"), "is not allowed"),
        (
            format!("{head}stringData: {{{}: x}}\n", "k".repeat(254)),
            "is not allowed",
        ),
        (
            format!("{head}stringdata: {{a: x}}\n"),
            "has a field \"stringdata\", which Secrets do not have",
        ),
        (
            format!("{head}stringData: {{a: x}}\nimmutable: 1\n"),
            "immutable must be true or false",
        ),
        (
            head.replace("db", "Db_1") + "stringData: {a: x}\n",
            "\"Db_1\" is not a valid name of a Secret",
        ),
        (
            head.replace("shop", "a.b") + "stringData: {a: x}\n",
            "\"a.b\" is not a valid namespace name",
        ),
        (
            head.replace("apiVersion: v1", "apiVersion: v2") + "stringData: {a: x}\n",
            "not a Secret of apiVersion v1",
        ),
        (
            "apiVersion: v1\nkind: List\nitems: x\n".into(),
            "is a List whose items are not a list of objects",
        ),
        (
            SECRET.replace("metadata", "type: helm.sh/release.v1\nmetadata"),
            "Secrets of type helm.sh/release.v1 cannot be sealed",
        ),
        (
            SECRET.replace("metadata", "type: sealkit.dev/identity\nmetadata"),
            "cannot be sealed",
        ),
        (
            SECRET.replace("metadata", "type: bootstrap.kubernetes.io/token\nmetadata"),
            "cannot be sealed",
        ),
        (
            SECRET.replace(
                "metadata",
                "type: kubernetes.io/service-account-token\nmetadata",
            ),
            "cannot be sealed",
        ),
        (
            format!("{SECRET}---\nkind: Deployment\napiVersion: apps/v1\n"),
            "document 2 (Deployment )",
        ),
    ];
    for (manifest, message) in &table {
        desk.refused(&["-R", "key.pub", "-w", "db.yaml"], manifest, 3, message);
        desk.refused(&["-R", "key.pub"], manifest, 3, message);
    }
    desk.refused(
        &["-R", "key.pub", "-w", "db.yaml"],
        [0xff, 0xfe, 0],
        3,
        "not text in UTF-8, stdin",
    );
}

#[test]
fn more_than_the_limit_is_not_read() {
    let desk = Desk::new();
    let file = std::fs::File::create(desk.path("huge.yaml")).unwrap();
    file.set_len(65 * 1024 * 1024).unwrap();
    let answer = desk.seal(&["-R", "key.pub", "-f", "huge.yaml"]);
    assert_eq!(
        (answer.code, answer.stderr.as_str()),
        (3, "seal: error: larger than 64 MiB, huge.yaml\n")
    );
}

#[test]
fn unreadable_and_unwritable_files_are_named() {
    let desk = Desk::new();
    desk.write("s.yaml", SECRET);
    std::fs::create_dir(desk.path("folder.yaml")).unwrap();
    desk.write("file", "x");
    let read = |file| ["-R", "key.pub", "-f", file];
    desk.refused(
        &read("none.yaml"),
        "",
        3,
        "no such file or folder, none.yaml",
    );
    desk.refused(
        &read("folder.yaml"),
        "",
        3,
        "a file is needed, not a folder, folder.yaml",
    );
    desk.refused(
        &read("file/x.yaml"),
        "",
        3,
        "a file exists where a folder is needed, file/x.yaml",
    );
    desk.refused(
        &["-R", "none.pub"],
        SECRET,
        3,
        "no such file or folder, none.pub",
    );
    desk.refused(
        &["-R", "folder.yaml"],
        SECRET,
        3,
        "a file is needed, not a folder, folder.yaml",
    );
    let write = |file| ["-R", "key.pub", "-w", file];
    desk.refused(
        &write("no/such/x.yaml"),
        SECRET,
        3,
        "the folder to write into does not exist",
    );
    desk.refused(
        &write("file/x.yaml"),
        SECRET,
        3,
        "a file exists where a folder is needed",
    );
    desk.refused(&write("/proc/x.yaml"), SECRET, 3, "/proc/x.yaml");
    desk.refused(
        &write("/dev/null"),
        SECRET,
        3,
        "not a regular file, /dev/null",
    );
    std::fs::create_dir(desk.path("db.sealed.yaml")).unwrap();
    desk.refused(&write("./"), SECRET, 3, "a file is needed, not a folder");
    desk.refused(
        &["open", "-i", "none", "s.yaml"],
        "",
        3,
        "no such file or folder, none",
    );
    desk.refused(
        &["verify", "none.yaml"],
        "",
        3,
        "no such file or folder, none.yaml",
    );
    desk.refused(
        &["-f", "-", "-f", "-", "-R", "key.pub"],
        SECRET,
        2,
        "stdin can be read only once",
    );
}

#[test]
fn bad_keys_are_refused_and_not_repeated() {
    let desk = Desk::new();
    let private = desk.read("key").lines().last().unwrap().to_owned();
    let answer = desk.refused(
        &["-r", &private],
        SECRET,
        2,
        "this is a private key, but a recipient (public key) is needed here, -r",
    );
    assert!(!answer.stderr.contains(&private[15..]), "{}", answer.stderr);
    let answer = desk.refused(&["-R", "key"], SECRET, 3, "this is a private key");
    assert!(!answer.stderr.contains(&private[15..]) && answer.stderr.contains("key"));
    desk.refused(&["-r", "age1nonsense"], SECRET, 2, "not an age recipient");
    let upper = desk.read("key.pub").trim().to_uppercase();
    desk.refused(&["-r", &upper], SECRET, 2, "wrong case");
    // The all-zero point in Bech32.
    let zero = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z";
    let answer = desk.pipe(&["-r", zero], SECRET);
    assert_eq!(answer.code, 2);
    assert!(
        answer.stderr.contains("a low-order public key"),
        "{}",
        answer.stderr
    );
    let hybrid = desk.seal(&["keys", "generate", "-w", "pq"]).done().stdout;
    desk.write("pq.pub", &hybrid);
    let answer = desk.refused(
        &["-R", "key.pub", "-R", "pq.pub"],
        SECRET,
        3,
        "can't share an envelope",
    );
    assert!(answer.stderr.contains("hint: use keys of one type"));
    desk.write("empty.pub", "# none\n");
    desk.refused(
        &["-R", "empty.pub"],
        SECRET,
        3,
        "contains no key, empty.pub",
    );
    desk.write("bad.pub", "# a\nage1x\n");
    desk.refused(
        &["-R", "bad.pub"],
        SECRET,
        3,
        "line 2: not an age recipient",
    );
    desk.refused(
        &["open", "-i", "key.pub", "x"],
        "",
        3,
        "no such file or folder, x",
    );
    desk.write("s.yaml", &desk.sealed());
    desk.refused(
        &["open", "-i", "key.pub", "s.yaml"],
        "",
        3,
        "line 1: not an age identity",
    );
}

#[test]
fn escape_sequences_of_a_file_do_not_reach_the_terminal() {
    let desk = Desk::new();
    let manifest = "apiVersion: v1\nkind: \"Se\\e[31mcret\"\nmetadata: {name: \"a\\e[2J\"}\n";
    let answer = desk.pipe(&["-R", "key.pub"], manifest);
    assert_eq!(answer.code, 3);
    assert!(!answer.stderr.contains('\u{1b}'), "{}", answer.stderr);
    let evil = secret("x", &[("k\u{1b}[31m", "v")]);
    let answer = desk.pipe(&["-R", "key.pub"], evil);
    assert!(
        answer.code == 3 && !answer.stderr.contains('\u{1b}'),
        "{}",
        answer.stderr
    );
}
