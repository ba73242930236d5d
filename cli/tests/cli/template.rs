use serde_json::json;

use crate::support::{Desk, SECRET, objects, secret};

const TEMPLATE: &str = "type: example.com/config\nmetadata: {labels: {app: shop}}\nincludeRaw: false\n\
    data:\n  config.ini: |\n    password={{ .password | quote }}\n";

/// Seals for a template, into a file.
const SEAL: [&str; 7] = [
    "-R",
    "key.pub",
    "--render",
    "--template",
    "t.yaml",
    "-w",
    "db.yaml",
];

#[test]
fn a_template_goes_into_the_object_and_renders_when_opened() {
    let desk = Desk::new();
    desk.write("t.yaml", TEMPLATE);
    let answer = desk.pipe(&SEAL, SECRET).done();
    assert!(
        answer.stderr.contains("may read these values"),
        "{}",
        answer.stderr
    );
    let object = &objects(&desk.read("db.yaml"))[0];
    let template = json!({
        "type": "example.com/config", "metadata": {"labels": {"app": "shop"}}, "includeRaw": false,
        "data": {"config.ini": "password={{ .password | quote }}\n"},
    });
    assert_eq!(object["spec"]["template"], template);
    let opened = desk
        .seal(&["open", "-i", "key", "--decode", "db.yaml"])
        .done();
    let plain = &objects(&opened.stdout)[0];
    assert_eq!(
        plain["stringData"],
        json!({"config.ini": "password=\"hunter2\"\n"})
    );
    assert_eq!(plain["type"], "example.com/config");
    let raw = desk
        .seal(&["open", "-i", "key", "--key", "password", "db.yaml"])
        .done();
    assert_eq!(
        raw.stdout, "hunter2",
        "values that the Secret lacks can be had one by one"
    );
    desk.seal(&["verify", "-i", "key", "db.yaml"]).done();
}

#[test]
fn the_manifests_own_type_and_labels_are_kept_beside_a_template() {
    let desk = Desk::new();
    desk.write(
        "t.yaml",
        "data: {out: fixed}\nmetadata: {annotations: {a: b}}\n",
    );
    let manifest = "apiVersion: v1\nkind: Secret\ntype: example.com/x\nstringData: {k: v}\n\
        metadata: {name: db, namespace: shop, labels: {from: manifest}}\n";
    let seal = ["-R", "key.pub", "--render", "--template", "t.yaml"];
    let answer = desk.pipe(&seal, manifest).done();
    let template = &objects(&answer.stdout)[0]["spec"]["template"];
    assert_eq!(template["type"], "example.com/x");
    assert_eq!(
        template["metadata"],
        json!({"labels": {"from": "manifest"}, "annotations": {"a": "b"}})
    );
}

#[test]
fn what_the_controller_would_refuse_is_refused_here() {
    let desk = Desk::new();
    let table = [
        ("data: {out: '{{ if }}'}\n", "template.data[out]: line 1"),
        ("data: {out: '{{ env \"HOME\" }}'}\n", "template.data[out]"),
        ("data: {'a/b': x}\n", "not a key that Kubernetes allows"),
        (
            "type: kubernetes.io/service-account-token\n",
            "Secrets of type",
        ),
        (
            "metadata: {labels: {sealkit.dev/managed: 'false'}}\n",
            "may not set the label or annotation",
        ),
        ("spec: {}\n", "unknown field \"spec\""),
        ("data: {out: 7}\n", "invalid type"),
        (
            "data: {a: x}\n---\ndata: {b: y}\n",
            "more than one document",
        ),
        ("not: [yaml\n", "not valid YAML"),
    ];
    for (text, message) in table {
        desk.write("t.yaml", text);
        let seal = ["-R", "key.pub", "--render", "--template", "t.yaml"];
        desk.refused(&seal, SECRET, 3, message);
    }
    let missing = ["-R", "key.pub", "--template", "none.yaml"];
    desk.refused(&missing, SECRET, 3, "none.yaml");
}

#[test]
fn without_render_a_person_is_told() {
    let desk = Desk::new();
    desk.write("t.yaml", TEMPLATE);
    let seal = ["-R", "key.pub", "--template", "t.yaml", "-w", "db.yaml"];
    let answer = desk.pipe(&seal, SECRET).done();
    assert!(
        answer.stderr.contains("without --render"),
        "{}",
        answer.stderr
    );
    let opened = desk.seal(&["open", "-i", "key", "db.yaml"]);
    assert_eq!(opened.code, 4);
    assert!(
        opened.stderr.contains("template.data[config.ini]"),
        "{}",
        opened.stderr
    );
    assert!(opened.stderr.contains("values sealed with --render: none"));
    assert!(!opened.stderr.contains("hunter2") && opened.stdout.is_empty());
    desk.seal(&["verify", "db.yaml"]).done();
    let verified = desk.seal(&["verify", "-i", "key", "db.yaml"]);
    assert_eq!(verified.code, 1);
    let found = "db.yaml: shop/db: TemplateFailed: template.data[config.ini]";
    assert!(verified.stdout.starts_with(found), "{}", verified.stdout);
    // A value that is replaced in a file with a template, without --render.
    let set = ["-R", "key.pub", "-w", "db.yaml"];
    let new = secret("db", &[("password", "new")]);
    desk.refused(&set, new, 3, "templates of the object read password");
    // One that they do not read.
    let answer = desk.pipe(&set, secret("db", &[("other", "new")])).done();
    let told = "templates in the file cannot read";
    assert!(answer.stderr.contains(told), "{answer:?}");
}

#[test]
fn a_file_keeps_its_template() {
    let desk = Desk::new();
    desk.write("t.yaml", TEMPLATE);
    desk.pipe(&SEAL, SECRET).done();
    let before = desk.read("db.yaml");
    desk.pipe(&SEAL, secret("db", &[("user", "bob")])).done();
    assert!(desk.read("db.yaml").contains("user: sk1."));
    desk.write("t.yaml", &TEMPLATE.replace("password=", "pw="));
    let same = desk.read("db.yaml");
    desk.refused(&SEAL, SECRET, 3, "keeps its template");
    assert_eq!(desk.read("db.yaml"), same);
    assert_ne!(before, same);
}

#[test]
fn verify_checks_templates_without_a_key() {
    let desk = Desk::new();
    desk.pipe(&["-R", "key.pub", "-w", "db.yaml"], SECRET)
        .done();
    let broken = format!(
        "{}  template:\n    data:\n      out: '{{{{ .password '\n",
        desk.read("db.yaml")
    );
    desk.write("db.yaml", &broken);
    let answer = desk.seal(&["verify", "db.yaml"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(
        answer.stdout.contains("template.data[out]")
            || answer.stderr.contains("template.data[out]"),
        "{answer:?}"
    );
}

#[test]
fn a_template_stands_in_the_file_as_somebody_wrote_it() {
    let desk = Desk::new();
    let template = "# for the shop\ntype: Opaque\ndata:\n  application.yaml: |\n    datasource:\n      \
        password: {{ .password | quote }}\n\n    # the end\nincludeRaw: false          # only that\n";
    desk.write("t.yaml", template);
    desk.pipe(&SEAL, SECRET).done();
    let sealed = desk.read("db.yaml");
    for line in template.lines().filter(|line| !line.is_empty()) {
        assert!(sealed.contains(&format!("\n    {line}\n")), "{sealed}");
    }
    // Changes of values leave it alone, and so do new keys behind it.
    desk.pipe(&["set", "db.yaml", "user", "--new", "-R", "key.pub"], "u")
        .done();
    desk.seal(&["reseal", "--check", "-i", "key", "db.yaml"]);
    let after = desk.read("db.yaml");
    let lines = |text: &str| text.split_once("  template:\n").unwrap().1.to_owned();
    assert_eq!(lines(&after), lines(&sealed));
    // An edited text comes over line by line.
    desk.write("t.yaml", &template.replace("password:", "pass:"));
    let update = [&SEAL[..], &["--update-template"]].concat();
    desk.pipe(&update, SECRET).done();
    let edited = desk.read("db.yaml");
    assert_eq!(lines(&edited), lines(&sealed).replace("password:", "pass:"));
    // A manifest may say more than the file.
    let labelled = SECRET.replace("namespace: shop", "namespace: shop, labels: {team: a}");
    desk.pipe(
        &[
            "-R",
            "key.pub",
            "--render",
            "--template",
            "t.yaml",
            "-w",
            "more.yaml",
        ],
        labelled,
    )
    .done();
    let more = desk.read("more.yaml");
    assert!(
        more.contains("    # for the shop\n")
            && more.contains("      application.yaml: |\n        datasource:\n"),
        "{more}"
    );
    assert!(more.contains("team: a"), "{more}");
}
