use serde_json::Value;

use crate::support::{Desk, SECRET, secret};

fn findings(desk: &Desk, arguments: &[&str]) -> Vec<String> {
    let answer = desk.seal(&[&["verify"], arguments].concat());
    let lines: Vec<_> = answer.stdout.lines().map(str::to_owned).collect();
    assert_eq!(answer.code, i32::from(!lines.is_empty()), "{answer:?}");
    lines
}

#[test]
fn a_good_tree_is_quiet() {
    let desk = Desk::new();
    desk.write("a/db.yaml", &desk.sealed());
    desk.write(
        "a/chart/templates/x.yaml",
        "{{- if .Values.x }}\nkind: ConfigMap\n{{ end }}\n",
    );
    desk.write(
        "a/chart/templates/s.yaml",
        "kind: Secret\ndata:\n{{ toYaml .x }}\n",
    );
    desk.write("notes.md", "kind: Secret\n");
    desk.write("package.json", "[1, 2]\n");
    desk.write(".git/x.yaml", SECRET);
    for arguments in [
        &[][..],
        &["a"],
        &["a/db.yaml"],
        &["-i", "key"],
        &["-i", "key", "a"],
    ] {
        assert_eq!(findings(&desk, arguments), [""; 0]);
    }
    let answer = desk.seal(&["verify", "-v"]).done();
    assert_eq!(
        answer.stderr,
        "seal: detail: 1 SealedSecrets in 1 files, 0 findings; recipients are claims of the files: pass -i FILE to prove them\n"
    );
}

#[test]
fn plain_secrets_and_unreadable_files_are_found() {
    let desk = Desk::new();
    desk.write("b.yaml", &format!("{}---\n{SECRET}", desk.sealed()));
    desk.write("c.json", &secret("web", &[("k", "v")]));
    desk.write("d.yaml", "kind: Secret\na: [\n");
    desk.write("e.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: sa}\ntype: kubernetes.io/service-account-token\n");
    let found = findings(&desk, &[]);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("b.yaml: shop/db: PlaintextSecret: "));
    assert!(found[1].starts_with("c.json: shop/web: PlaintextSecret: "));
    assert!(found[2].starts_with("d.yaml: Unreadable: not valid YAML"));
    let answer = desk.seal(&["verify", "-o", "json"]);
    assert_eq!(answer.code, 1);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    assert_eq!(report["findings"][0]["path"], "b.yaml");
    assert_eq!(report["findings"][0]["object"], "shop/db");
    assert_eq!(report["findings"][0]["code"], "PlaintextSecret");
    assert_eq!(report["scanned"]["objects"], 1);
    assert!(!answer.stdout.contains("hunter2"));
}

#[test]
fn what_the_controller_would_refuse_is_found() {
    let desk = Desk::new();
    let typed = desk
        .pipe(&["-R", "key.pub"], format!("{SECRET}type: example.com/x\n"))
        .done()
        .stdout;
    desk.write(
        "type.yaml",
        &typed.replace("example.com/x", "helm.sh/release.v1"),
    );
    assert!(findings(&desk, &["type.yaml"])[0].contains(
        "InvalidSpec: Sealkit never creates or seals Secrets of type helm.sh/release.v1"
    ));
    let labels = typed.replace(
        "type: example.com/x",
        "metadata: {labels: {sealkit.dev/managed: 'x'}}",
    );
    desk.write("labels.yaml", &labels);
    assert!(
        findings(&desk, &["labels.yaml"])[0]
            .contains("the template may not set the label or annotation sealkit.dev/managed")
    );
    desk.write(
        "shape.yaml",
        &typed.replace("type: example.com/x", "immutable: 7"),
    );
    assert!(findings(&desk, &["shape.yaml"])[0].contains("spec does not follow the schema"));
}

#[test]
fn recipients_are_held_against_the_rule() {
    let config = "version: 1\nclusters:\n  a: {recipients: [.sealkit/a.pub]}\n  b: {recipients: [.sealkit/b.pub]}\n\
        recovery: [.sealkit/r.pub]\nrules:\n- {path: a/**, clusters: [a]}\n- {path: b/**, clusters: [b]}\n";
    let desk = Desk::repository(&["a", "b", "r"], config);
    desk.pipe(&["-w", "a/"], SECRET).done();
    assert_eq!(findings(&desk, &["a"]), [""; 0]);
    desk.write("b/db.sealed.yaml", &desk.read("a/db.sealed.yaml"));
    let found = findings(&desk, &[]);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].starts_with("b/db.sealed.yaml: shop/db: OtherRecipients: envelope "),
        "{found:?}"
    );
    assert!(
        found[0].contains("claims to be sealed to") && found[0].contains("but its path requires")
    );
    let found = findings(&desk, &["-i", "../home/r"]);
    assert!(
        found.len() == 1 && found[0].contains(" is sealed to"),
        "{found:?}"
    );
    // A lie about the recipients satisfies only those who have no key.
    let lying = desk.read("a/db.sealed.yaml");
    let lying = lying.replace(
        &desk.fingerprint(".sealkit/a.pub"),
        &desk.fingerprint(".sealkit/b.pub"),
    );
    desk.write("b/db.sealed.yaml", &lying);
    assert!(findings(&desk, &["-i", "../home/r", "b"]).len() == 2);
    let found = findings(&desk, &["-i", "../home/b", "a"]);
    assert!(
        found[0].contains("a/db.sealed.yaml: shop/db: NoMatchingKey: "),
        "{found:?}"
    );
}

/// As `seal keys rotate` and `seal keys fetch` write it.
#[test]
fn an_envelope_for_a_key_that_was_superseded_is_found() {
    let config = "version: 1\nclusters:\n  a: {recipients: [.sealkit/a.pub]}\n  b: {recipients: [.sealkit/b.pub]}\n\
        recovery: [.sealkit/r.pub]\nrules:\n- {path: a/**, clusters: [a]}\n";
    let desk = Desk::repository(&["a", "b", "r"], config);
    desk.pipe(&["-w", "a/"], SECRET).done();
    desk.pipe(&["-w", "x.yaml", "--cluster", "a"], SECRET)
        .done();
    assert_eq!(findings(&desk, &[]), [""; 0]);
    let old = desk.fingerprint(".sealkit/a.pub");
    let before = desk.read(".sealkit/a.pub");
    let generate = ["keys", "generate", "--classic", "-w", "../home/next"];
    let public = desk.seal(&generate).done().stdout;
    desk.write(".sealkit/a.pub", &public);
    let found = findings(&desk, &[]);
    assert!(
        found.len() == 1 && found[0].contains("OtherRecipients"),
        "nobody says that the key is retired: {found:?}"
    );
    desk.write(".sealkit/a.pub", &format!("# supersedes: {old}\n{public}"));
    for arguments in [&[][..], &["-i", "../home/r"]] {
        let found = findings(&desk, arguments);
        assert_eq!(found.len(), 2, "{found:?}");
        for (line, path) in found.iter().zip(["a/db.sealed.yaml", "x.yaml"]) {
            let start = format!("{path}: shop/db: RetiredKey: envelope ");
            let whose = format!("superseded key of a ({})", &old[..16]);
            assert!(line.starts_with(&start) && line.contains(&whose), "{line}");
            assert!(line.ends_with("run `seal reseal` on the file"), "{line}");
        }
    }
    let reseal = ["reseal", "-q", "-i", "../home/r", "--accept-recipients"];
    desk.seal(&[&reseal[..], &["a"]].concat()).done();
    assert_eq!(findings(&desk, &["a"]), [""; 0]);
    // A key that a file still has is in use.
    desk.write(".sealkit/b.pub", &before);
    assert_eq!(findings(&desk, &[]), [""; 0]);
}

#[test]
fn no_spelling_hides_a_secret() {
    let desk = Desk::new();
    let table = [
        "---\n{apiVersion: v1, kind: Secret, metadata: {name: a}, stringData: {k: v}}\n",
        "apiVersion: v1\nkind: \"S\\x65cret\"\nmetadata: {name: a}\nstringData: {k: v}\n",
        "apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Secret, metadata: {name: a}, data: {k: eA==}}]\n",
        "apiVersion: v1\nkind: &a Secret\nmetadata: {name: a}\nstringData: {k: v}\n",
    ];
    for text in table {
        desk.write("s.yaml", text);
        let found = findings(&desk, &[]);
        assert!(
            found.len() == 1 && found[0].starts_with("s.yaml: a: PlaintextSecret: "),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn what_stands_in_templates_of_charts_or_is_not_checked_out_is_found() {
    let config = "version: 1\nclusters: {one: {recipients: [.sealkit/one.pub]}}\n";
    let desk = Desk::repository(&["one", "two"], config);
    desk.write("apps/README", "");
    desk.pipe(&["-w", "apps/db.yaml"], SECRET).done();
    let sealed = desk.read("apps/db.yaml");
    let template = sealed.replace("name: db", "name: {{ .Release.Name }}-db");
    desk.write("chart/templates/db.yaml", &template);
    let values = sealed.split_once("spec:\n").unwrap().1;
    desk.write("chart/values.yaml", &format!("sealed:\n{values}"));
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ include \"a.name\" . }}\ndata:\n  token: {{ .Values.token | b64enc }}\n";
    desk.write("chart/templates/s.yaml", secret);
    assert_eq!(findings(&desk, &[]), [""; 0]);
    desk.write(
        "chart/templates/s.yaml",
        &format!("{secret}  password: aHVudGVyMg==\n"),
    );
    desk.write(".sealkit/one.pub", &desk.read(".sealkit/two.pub"));
    let found = findings(&desk, &[]);
    for line in [
        "apps/db.yaml: shop/db: OtherRecipients: ",
        "chart/templates/db.yaml: OtherRecipients: 1 envelopes outside",
        "chart/templates/s.yaml: PlaintextSecret: line 7: ",
        "chart/values.yaml: OtherRecipients: 1 envelopes outside",
    ] {
        assert!(
            found.iter().any(|found| found.starts_with(line)),
            "{line}: {found:?}"
        );
    }
    assert_eq!(found.len(), 4, "{found:?}");
    std::fs::remove_dir_all(desk.path("chart")).unwrap();
    desk.commit("all");
    desk.git(&["sparse-checkout", "set", ".sealkit"]);
    let absent = findings(&desk, &[]);
    assert!(
        absent[0].starts_with("apps/db.yaml: NotCheckedOut"),
        "{absent:?}"
    );
}
