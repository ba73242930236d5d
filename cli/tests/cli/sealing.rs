use serde_json::json;

use crate::support::{Desk, SECRET, objects, secret};

#[test]
fn what_is_sealed_opens_to_the_same() {
    let desk = Desk::new();
    let hybrid = desk.seal(&["keys", "generate", "-w", "pq"]).done().stdout;
    desk.write("pq.pub", &hybrid);
    for (key, public) in [("key", "key.pub"), ("pq", "pq.pub")] {
        let sealed = desk.pipe(&["-R", public], SECRET).done();
        assert!(sealed.stderr.is_empty(), "{}", sealed.stderr);
        assert!(
            sealed
                .stdout
                .starts_with("apiVersion: sealkit.dev/v1beta1\nkind: SealedSecret\n")
        );
        assert!(!sealed.stdout.contains("null") && !sealed.stdout.contains("status"));
        desk.write("db.sealed.yaml", &sealed.stdout);
        assert_eq!(
            desk.values(key, "db.sealed.yaml"),
            json!({"password": "hunter2"})
        );
    }
    let object = &objects(&desk.read("db.sealed.yaml"))[0];
    assert_eq!(object["spec"]["scope"], "strict");
    assert_eq!(
        object["metadata"],
        json!({"name": "db", "namespace": "shop"})
    );
}

#[test]
fn a_public_key_on_the_command_line_serves() {
    let desk = Desk::new();
    let key = desk.read("key.pub");
    let sealed = desk.pipe(&["-r", key.trim(), "-o", "json"], SECRET).done();
    desk.write("db.json", &sealed.stdout);
    assert!(serde_json::from_str::<serde_json::Value>(&sealed.stdout).is_ok());
    assert_eq!(
        desk.values("key", "db.json"),
        json!({"password": "hunter2"})
    );
}

#[test]
fn streams_lists_and_files_are_sealed_alike() {
    let desk = Desk::new();
    let list = format!(
        "{{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [{}, {}]}}",
        secret("a", &[("k", "1")]),
        secret("b", &[("k", "2")])
    );
    desk.write("list.json", &list);
    desk.write(
        "stream.yaml",
        &format!(
            "---\n{}\n---\n# none\n---\n{}\n",
            secret("c", &[("k", "3")]),
            SECRET
        ),
    );
    desk.seal(&[
        "-R",
        "key.pub",
        "-f",
        "list.json",
        "-f",
        "stream.yaml",
        "-w",
        "all.yaml",
    ])
    .done();
    let names: Vec<_> = objects(&desk.read("all.yaml"))
        .iter()
        .map(|o| o["metadata"]["name"].clone())
        .collect();
    assert_eq!(names, ["a", "b", "c", "db"]);
    let json = desk
        .seal(&["-R", "key.pub", "-f", "list.json", "-o", "json"])
        .done()
        .stdout;
    assert!(json.contains("\"kind\": \"List\""));
}

#[test]
fn a_folder_takes_one_file_each() {
    let desk = Desk::new();
    let stream = format!(
        "{}\n---\n{}",
        secret("a", &[("k", "1")]),
        secret("b", &[("k", "2")])
    );
    let answer = desk
        .pipe(&["-R", "key.pub", "-w", "out/deep/"], &stream)
        .done();
    assert_eq!(
        answer.stderr,
        "sealed out/deep/a.sealed.yaml\nsealed out/deep/b.sealed.yaml\n"
    );
    assert_eq!(
        desk.values("key", "out/deep/b.sealed.yaml"),
        json!({"k": "2"})
    );
    let answer = desk
        .pipe(&["-q", "-R", "key.pub", "-w", "out"], &stream)
        .done();
    assert!(answer.stderr.is_empty() && desk.exists("out/a.sealed.yaml"));

    let twins = format!(
        "{}\n---\n{}",
        secret("a", &[("k", "1")]),
        secret("a", &[("k", "2")])
    );
    desk.refused(
        &["-R", "key.pub", "-w", "twins/"],
        &twins,
        3,
        "shop/a would overwrite another object of the input",
    );
    desk.refused(
        &["-R", "key.pub", "-w", "twins.yaml"],
        &twins,
        3,
        "shop/a would overwrite another object of the input",
    );
}

#[test]
fn the_template_carries_what_a_secret_has_beside_values() {
    let desk = Desk::new();
    let manifest = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: web\n  namespace: shop\n  \
        creationTimestamp: null\n  uid: 1-2\n  labels: {team: a, sealkit.dev/managed: 'true'}\n  annotations:\n    \
        note: x\n    kubectl.kubernetes.io/last-applied-configuration: hunter2\n\
        type: kubernetes.io/tls\nimmutable: true\ndata: {tls.crt: AAEC, tls.key: ''}\n";
    let sealed = desk.pipe(&["-R", "key.pub"], manifest).done().stdout;
    assert!(!sealed.contains("creationTimestamp") && !sealed.contains("hunter2"));
    let template = &objects(&sealed)[0]["spec"]["template"];
    let want = json!({"type": "kubernetes.io/tls", "immutable": true,
        "metadata": {"labels": {"team": "a"}, "annotations": {"note": "x"}}});
    assert_eq!(*template, want);
}

#[test]
fn namespaces_come_from_manifest_flag_and_kubeconfig() {
    let mut desk = Desk::new();
    let bare = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {a: b}\n";
    desk.refused(
        &["-R", "key.pub"],
        bare,
        3,
        "scope strict binds values to a namespace, and none is given",
    );
    desk.refused(
        &["-R", "key.pub", "-n", "No"],
        bare,
        2,
        "not a valid namespace name, No",
    );
    desk.refused(
        &["-R", "key.pub", "-n", "other"],
        SECRET,
        2,
        "the manifest says namespace shop, but -n says other",
    );
    let namespace = |text: &str| objects(text)[0]["metadata"]["namespace"].clone();
    assert_eq!(
        namespace(&desk.pipe(&["-R", "key.pub", "-n", "x"], bare).done().stdout),
        "x"
    );
    assert_eq!(
        namespace(
            &desk
                .pipe(&["-R", "key.pub", "-n", "shop"], SECRET)
                .done()
                .stdout
        ),
        "shop"
    );
    let wide = desk
        .pipe(&["-R", "key.pub", "--scope", "cluster-wide"], bare)
        .done();
    assert!(namespace(&wide.stdout).is_null() && wide.stderr.is_empty());

    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: dev\ncontexts:\n\
        - {name: dev, context: {cluster: c, user: u, namespace: team-a}}\n\
        - {name: ops, context: {cluster: c, user: u}}\nclusters: []\nusers: []\n";
    desk.write("kubeconfig", kubeconfig);
    let path = desk.path("kubeconfig").display().to_string();
    desk.set("KUBECONFIG", &path);
    let answer = desk.pipe(&["-R", "key.pub"], bare).done();
    assert_eq!(namespace(&answer.stdout), "team-a");
    assert_eq!(
        answer.stderr,
        "seal: note: sealed for namespace team-a, that of context dev\n"
    );
    let answer = desk
        .pipe(&["-R", "key.pub", "--context", "ops"], bare)
        .done();
    assert_eq!(namespace(&answer.stdout), "default");
}

/// The namespace of the context in force says nothing of another cluster, or of a file that says its
/// own.
#[test]
fn no_namespace_comes_from_another_clusters_context_or_over_that_of_the_file() {
    let config = "version: 1\nclusters: {production: {recipients: [.sealkit/production.pub]}}\n";
    let mut desk = Desk::repository(&["production"], config);
    let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: dev\ncontexts:\n\
        - {name: dev, context: {cluster: c, user: u, namespace: team-a}}\nclusters: []\nusers: []\n";
    desk.write("../home/kubeconfig", kubeconfig);
    let path = desk.path("../home/kubeconfig").display().to_string();
    desk.set("KUBECONFIG", &path);
    let bare = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {a: b}\n";
    let refused = desk.refused(&["-w", "db.yaml"], bare, 3, "binds values to a namespace");
    assert!(
        refused
            .stderr
            .contains("the current context, dev, is not known"),
        "{refused:?}"
    );
    // The file says it.
    desk.pipe(&["-w", "db.yaml", "-n", "shop"], bare).done();
    let answer = desk
        .pipe(&["-w", "db.yaml"], bare.replace("a: b", "a: c"))
        .done();
    assert!(answer.stderr.contains("sealed for shop/db"), "{answer:?}");
    assert_eq!(
        desk.values("../home/production", "db.yaml"),
        serde_json::json!({"a": "c"})
    );
    // This clone knows that the context leads to the cluster.
    desk.write(".git/sealkit/contexts", "{\"production\": \"dev\"}");
    let answer = desk.pipe(&["-w", "web.yaml"], bare).done();
    assert!(
        answer.stderr.contains("team-a, that of context dev"),
        "{answer:?}"
    );
}

#[test]
fn names_can_be_given_to_one_secret() {
    let desk = Desk::new();
    let nameless =
        "apiVersion: v1\nkind: Secret\nmetadata: {namespace: shop}\nstringData: {a: b}\n";
    desk.refused(
        &["-R", "key.pub"],
        nameless,
        3,
        "the Secret has no name, stdin: Secret",
    );
    let named = desk
        .pipe(&["-R", "key.pub", "--name", "x"], nameless)
        .done()
        .stdout;
    assert_eq!(objects(&named)[0]["metadata"]["name"], "x");
    let two = format!("{SECRET}---\n{SECRET}");
    desk.refused(
        &["-R", "key.pub", "--name", "x"],
        two,
        2,
        "2 Secrets cannot all have the same name, --name",
    );
    desk.refused(
        &["-R", "key.pub", "--name", "../x"],
        SECRET,
        3,
        "\"../x\" is not a valid name of a Secret",
    );
}

#[test]
fn other_documents_pass_through_untouched() {
    let desk = Desk::new();
    let other = "# keep this\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c   # and this\ndata:\n  a: |\n    x\n";
    let stream =
        format!("{other}---\n{SECRET}---\n{{\"kind\": \"Other\", \"apiVersion\": \"x/v1\"}}\n");
    desk.refused(
        &["-R", "key.pub"],
        &stream,
        3,
        "not a Secret of apiVersion v1, stdin: document 1 (ConfigMap c)",
    );
    let answer = desk
        .pipe(&["-R", "key.pub", "--all-documents"], &stream)
        .done();
    assert!(answer.stdout.starts_with(other), "{}", answer.stdout);
    assert!(
        answer
            .stdout
            .ends_with("---\n{\"kind\": \"Other\", \"apiVersion\": \"x/v1\"}\n")
    );
    assert!(!answer.stdout.contains("hunter2"));
    assert_eq!(objects(&answer.stdout).len(), 3);
    let again = desk
        .pipe(&["-R", "key.pub", "--all-documents"], &answer.stdout)
        .done();
    assert_eq!(
        again.stdout, answer.stdout,
        "sealed objects pass through as well"
    );
    desk.refused(&["-R", "key.pub"], desk.sealed(), 3, "already sealed");
    desk.pipe(
        &["-R", "key.pub", "--all-documents", "-w", "all.yaml"],
        &stream,
    )
    .done();
    desk.pipe(
        &["-R", "key.pub", "--all-documents", "-w", "all.yaml"],
        &stream,
    )
    .done();
    assert_eq!(objects(&desk.read("all.yaml")).len(), 3);
    desk.refused(
        &["-R", "key.pub", "--all-documents", "-w", "dir/"],
        &stream,
        2,
        "--all-documents needs one output file",
    );
    let changed = stream
        .replace("and this", "and that")
        .replace("    x\n", "    y\n");
    desk.refused(
        &["-R", "key.pub", "--all-documents", "-w", "all.yaml"],
        changed,
        3,
        "the file holds other documents",
    );
}

#[test]
fn templates_may_read_only_what_render_allows() {
    let desk = Desk::new();
    let read = |text: &str| {
        let keys = sealkit_core::keys::parse_identity_file(&desk.read("key")).unwrap();
        let ring = sealkit_core::keys::KeyRing::new(keys).unwrap();
        let object = sealkit_core::sealed::SealedObject::parse(&objects(text)[0]).unwrap();
        let search = sealkit_core::sealed::Search::Hinted;
        sealkit_core::sealed::open(&object, &ring, search)
            .unwrap()
            .values["password"]
            .render
    };
    assert!(!read(&desk.sealed()));
    let answer = desk.pipe(&["-R", "key.pub", "--render"], SECRET).done();
    assert!(
        answer
            .stderr
            .contains("note: templates in the cluster may read these values")
    );
    assert!(read(&answer.stdout));
}

#[test]
fn yaml_keys_that_look_like_something_else_are_quoted() {
    let desk = Desk::new();
    let words = [
        "yes",
        "no",
        "on",
        "012",
        "1e3",
        "null",
        "0x1F",
        "1_000",
        "true",
        "22e45672345672345672345672345672",
    ];
    let values: Vec<_> = words.iter().map(|word| (*word, "v")).collect();
    let sealed = desk
        .pipe(&["-R", "key.pub"], secret("odd", &values))
        .done()
        .stdout;
    for word in words {
        assert!(
            sealed.contains(&format!("    \"{word}\": sk1.")),
            "{word}: {sealed}"
        );
    }
    let object = &objects(&sealed)[0];
    let id = object["spec"]["envelopes"]
        .as_object()
        .unwrap()
        .keys()
        .next()
        .unwrap();
    assert!(sealed.contains(&format!("    \"{id}\":\n")));
    assert!(sealed.contains(&format!("- \"{}\"\n", desk.fingerprint("key.pub"))));
}

#[test]
fn a_thousand_manifests_seal_in_one_call() {
    let desk = Desk::new();
    let stream: Vec<_> = (0..1000)
        .map(|n| secret(&format!("s{n}"), &[("k", "v")]))
        .collect();
    let sealed = desk
        .pipe(&["-R", "key.pub"], stream.join("\n---\n"))
        .done()
        .stdout;
    assert_eq!(sealed.matches("kind: SealedSecret").count(), 1000);
}

/// The generated Secret is nobody's application: what steers goes onto the SealedSecret, and what
/// says whose it is goes nowhere.
#[test]
fn marks_of_other_programs_are_sorted() {
    let desk = Desk::new();
    let live = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: live\n  namespace: shop\n  labels:\n    \
        app.kubernetes.io/instance: shop\n    app.kubernetes.io/managed-by: Helm\n    \
        kustomize.toolkit.fluxcd.io/name: apps\n    team: a\n  annotations:\n    \
        argocd.argoproj.io/tracking-id: x\n    argocd.argoproj.io/sync-wave: \"-5\"\n    \
        meta.helm.sh/release-name: shop\n    helm.sh/hook: pre-install\nstringData: {a: b}\n";
    let answer = desk.pipe(&["-R", "key.pub", "-o", "json"], live).done();
    let object: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    let own =
        serde_json::json!({"argocd.argoproj.io/sync-wave": "-5", "helm.sh/hook": "pre-install"});
    assert_eq!(object["metadata"]["annotations"], own);
    let template = serde_json::json!({"labels": {"team": "a"}, "annotations": {}});
    let metadata = &object["spec"]["template"]["metadata"];
    assert_eq!(metadata["labels"], template["labels"]);
    assert!(
        metadata
            .get("annotations")
            .is_none_or(|left| left == &template["annotations"])
    );
    for part in [
        "is a hook (helm.sh/hook)",
        "put on the SealedSecret itself",
        "left out",
        "tracking-id",
    ] {
        assert!(answer.stderr.contains(part), "{answer:?}");
    }
}

#[test]
fn a_secret_without_values_is_sealed_if_the_flag_says_so() {
    let desk = Desk::new();
    let empty = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\n";
    let seal = ["-R", "key.pub", "-w", "db.yaml"];
    let refused = desk.refused(&seal, empty, 3, "has no values");
    assert!(refused.stderr.contains("pass --allow-empty"), "{refused:?}");
    desk.pipe(&[&seal[..], &["--allow-empty"]].concat(), empty)
        .done();
    assert!(!desk.read("db.yaml").contains("envelopes"));
    desk.seal(&["verify", "-i", "key", "db.yaml"]).done();
    assert_eq!(desk.values("key", "db.yaml"), json!(null));
    desk.pipe(&["set", "db.yaml", "A", "-R", "key.pub"], "one")
        .done();
    assert_eq!(desk.values("key", "db.yaml"), json!({"A": "one"}));
    // What it holds stays.
    desk.pipe(&[&seal[..], &["--allow-empty"]].concat(), empty)
        .done();
    assert_eq!(desk.values("key", "db.yaml"), json!({"A": "one"}));
    assert_eq!(desk.hints("db.yaml").len(), 1);
}
