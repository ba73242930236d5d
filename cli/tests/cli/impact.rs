use serde_json::Value;

use crate::support::Desk;

const APP: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: shop}
spec:
  template:
    spec:
      containers:
      - name: app
        env:
        - name: DB_PASSWORD
          valueFrom: {secretKeyRef: {name: db, key: password}}
        - name: DB_USER
          valueFrom: {secretKeyRef: {name: db, key: usr}}
        envFrom:
        - secretRef: {name: gone}
        - secretRef: {name: maybe, optional: true}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker, namespace: shop}
spec: {template: {spec: {containers: [{name: w, envFrom: [{secretRef: {name: db}}]}]}}}
";

/// A repository whose workloads need keys that nothing makes.
fn shop() -> Desk {
    let desk = Desk::new();
    desk.git_init();
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\nstringData: {password: hunter2, user: admin}\n";
    let sealed = desk.pipe(&["-R", "key.pub"], secret).done().stdout;
    desk.write("db.sealed.yaml", &sealed);
    desk.write("app.yaml", APP);
    desk
}

#[test]
fn lint_reports_references_that_nothing_fulfils_when_it_is_asked() {
    let desk = shop();
    desk.seal(&["lint"]).done();
    let answer = desk.seal(&["lint", "--references"]);
    assert_eq!(answer.code, 1);
    let lines: Vec<&str> = answer.stdout.lines().collect();
    let end =
        "; correct the name, add what makes it, or name it under `external:` in .sealkit.yaml";
    assert_eq!(
        lines,
        [
            format!(
                "app.yaml:13:44: MissingReference: Deployment app (env DB_USER) needs key usr of Secret db, which does not have it (did you mean user?){end}"
            ),
            format!(
                "app.yaml:15:29: MissingReference: Deployment app (envFrom) needs Secret gone, which nothing here makes{end}"
            ),
        ]
    );
    // What somebody else makes is declared, or allowed where it is used.
    desk.write(".sealkit.yaml", "version: 1\nexternal: [shop/go*]\n");
    desk.write(
        "app.yaml",
        &APP.replace(
            "        - name: DB_USER",
            "        # seal:allow made by an operator\n        - name: DB_USER",
        ),
    );
    desk.seal(&["lint", "--references"]).done();
    desk.refused(
        &["lint", "--references", "--staged"],
        "",
        2,
        "cannot be used with",
    );
}

#[test]
fn impact_names_what_makes_and_what_uses_a_value() {
    let desk = shop();
    let answer = desk.seal(&["impact", "db:password"]).done();
    assert_eq!(
        answer.stdout,
        "Secret shop/db\n  made by SealedSecret shop/db (db.sealed.yaml:1): password, user\n  \
         key password used by Deployment shop/app, env DB_PASSWORD (app.yaml:11)\n  \
         all keys used by Deployment shop/worker, envFrom (app.yaml:21)\n"
    );
    let answer = desk.seal(&["impact", "deployment/app"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.contains(
        "Secret shop/gone\n  all keys used by Deployment shop/app, envFrom (app.yaml:15): MISSING\n"
    ));
    assert!(answer.stdout.contains("Secret shop/maybe\n"));
    let answer = desk.seal(&["impact", "-o", "json", "-n", "shop"]);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let db = &report["secrets"][0];
    assert_eq!(db["name"], "db");
    assert_eq!(
        db["providers"][0]["keys"],
        serde_json::json!(["password", "user"])
    );
    assert_eq!(db["uses"].as_array().unwrap().len(), 3);
    assert!(
        db["uses"][1]["missing"]
            .as_str()
            .unwrap()
            .contains("did you mean user?")
    );
    assert!(!answer.stdout.contains("hunter2"));
    desk.refused(&["impact", "bd"], "", 3, "nothing here makes or uses it");
    let answer = desk.refused(&["impact", "deployment/appp"], "", 3, "nothing here");
    assert!(answer.stderr.contains("did you mean app?"), "{answer:?}");
    let answer = desk.refused(&["impact", "deploy/app"], "", 3, "nothing here");
    assert!(
        answer.stderr.contains("did you mean deployment/app?"),
        "{answer:?}"
    );
}

#[test]
fn a_key_that_nothing_makes_and_nothing_asks_for_is_told() {
    let desk = shop();
    let warned = |key: &str| {
        let answer = desk.seal(&["impact", &format!("db:{key}")]);
        answer.stderr.contains("nothing here makes the key")
    };
    assert!(warned("pasword"));
    assert!(!warned("password"));
    assert!(!warned("usr"), "a workload asks for it");
    // A store may have any key.
    desk.write(
        "more.yaml",
        "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\n\
         metadata: {name: db, namespace: shop}\n\
         spec: {secretStoreRef: {name: v}, dataFrom: [{extract: {key: db}}]}\n",
    );
    assert!(!warned("pasword"));
}
