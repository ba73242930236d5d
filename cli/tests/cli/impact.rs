use serde_json::Value;

use crate::support::{Desk, secret};

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
    let key = &desk.fingerprint("key.pub")[..16];
    assert_eq!(
        answer.stdout,
        format!(
            "Secret shop/db\n  made by SealedSecret shop/db (db.sealed.yaml:1): password, user\n  \
         value password: not committed; sealed to {key}\n  \
         key password used by Deployment shop/app, env DB_PASSWORD (app.yaml:11)\n  \
         all keys used by Deployment shop/worker, envFrom (app.yaml:21)\n"
        )
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

const CONFIG: &str = "version: 1\nclusters:\n  production: {recipients: [.sealkit/production.pub]}\n  \
    staging: {recipients: [.sealkit/staging.pub]}\nrecovery: [.sealkit/recovery.pub]\nrules:\n\
    - {path: production/, clusters: [production]}\n- {path: staging/, clusters: [staging]}\n";
const FILE: &str = "production/db.sealed.yaml";

fn commit(desk: &Desk, author: &str, date: &str) -> String {
    desk.git(&["add", "-A"]);
    let author = format!("--author={author} <{author}@example.com>");
    let date = format!("--date={date}T23:30:00Z");
    desk.git(&["commit", "-q", "-m", "a change", &author, &date]);
    desk.git(&["rev-parse", "HEAD"]).trim().to_owned()
}

/// The Secret `shop/db` of two clusters, and what uses its keys.
fn clusters() -> Desk {
    let desk = Desk::repository(&["production", "staging", "recovery"], CONFIG);
    for cluster in ["production", "staging"] {
        let app = APP.replace("name: app,", &format!("name: app-{cluster},"));
        let app = app.replace("key: usr", "key: user");
        desk.write(&format!("{cluster}/app.yaml"), &app);
        let user = format!("admin-{cluster}");
        let values = [("password", cluster), ("user", user.as_str())];
        let file = format!("{cluster}/db.sealed.yaml");
        desk.pipe(&["-w", &file], secret("db", &values)).done();
    }
    desk
}

/// The values of the production file, by key.
fn stories(desk: &Desk) -> Value {
    let answer = desk.seal(&["impact", "db", "-f", "production", "-o", "json"]);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    report["secrets"][0]["providers"][0].clone()
}

#[test]
fn each_value_tells_since_which_commit_it_is_there_and_who_set_it() {
    let desk = clusters();
    assert_eq!(stories(&desk)["values"][0]["history"], "not-committed");
    let begun = commit(&desk, "ann", "2026-01-02");
    let set = ["set", FILE, "password", "--accept-recipients"];
    desk.pipe(&set, "changed").done();
    let changed = commit(&desk, "bob", "2026-02-03");
    // A new key, and the same values.
    let generate = ["keys", "generate", "--classic", "-w", "../home/second"];
    let public = desk.seal(&generate).done().stdout;
    desk.write(".sealkit/production.pub", &public);
    let before = desk.read(FILE);
    let recovery = "../home/recovery";
    desk.seal(&["reseal", "-q", "-i", recovery, "--accept-recipients"])
        .done();
    assert_ne!(desk.read(FILE), before, "resealed");
    commit(&desk, "cay", "2026-03-04");
    desk.git(&["mv", FILE, "production/renamed.sealed.yaml"]);
    commit(&desk, "dan", "2026-04-05");

    let provider = stories(&desk);
    assert_eq!(provider["path"], "production/renamed.sealed.yaml");
    assert_eq!(provider["clusters"], serde_json::json!(["production"]));
    let [password, user] = provider["values"].as_array().unwrap().as_slice() else {
        panic!("{provider}")
    };
    let since = &password["since"];
    assert_eq!(since["commit"], changed.as_str());
    assert_eq!(since["author"], "bob");
    assert_eq!(since["email"], "bob@example.com");
    let date = since["date"].as_str().unwrap();
    assert!(date.starts_with("2026-02-03T23:30:00"), "{date}");
    assert_eq!(user["since"]["commit"], begun.as_str());
    assert_eq!(user["since"]["author"], "ann");
    assert_eq!(
        (&user["history"], &user["exposed"]),
        (&"known".into(), &Value::Null)
    );
    let production = desk.fingerprint(".sealkit/production.pub");
    let hints = password["recipients"].as_array().unwrap();
    assert!(hints.contains(&production.clone().into()), "{password}");

    let answer = desk.seal(&["impact", "db:password", "-f", "production"]);
    let line = format!(
        "  value password: since {} (2026-02-03) by bob; sealed to ",
        &changed[..12]
    );
    let line = answer.stdout.lines().find(|it| it.starts_with(&line));
    let named = format!("production ({})", &production[..16]);
    assert!(line.is_some_and(|it| it.contains(&named)), "{answer:?}");
    assert!(!answer.stdout.contains("value user"), "{answer:?}");
    assert!(
        answer
            .stdout
            .contains("(production/renamed.sealed.yaml:1) in production: password, user"),
        "{answer:?}"
    );
}

#[test]
fn an_incomplete_history_is_told_and_not_guessed() {
    let desk = clusters();
    commit(&desk, "ann", "2026-01-02");
    desk.pipe(&["set", FILE, "user", "--accept-recipients"], "other")
        .done();
    commit(&desk, "bob", "2026-02-03");
    let from = format!("file://{}", desk.work().display());
    desk.git(&["clone", "-q", "--depth", "1", &from, "../shallow"]);
    let shallow = desk.root().join("shallow");
    let answer = desk.run_in(&shallow, &["impact", "db"], "");
    assert!(
        answer
            .stdout
            .contains("value user: since unknown: shallow clone; sealed to "),
        "{answer:?}"
    );
    assert!(!answer.stdout.contains("by bob"), "{answer:?}");
    assert_eq!(answer.stderr.matches("--unshallow").count(), 1);
    desk.git(&["config", "uploadpack.allowFilter", "true"]);
    desk.git(&["clone", "-q", "--filter=blob:none", &from, "../partial"]);
    let partial = desk.root().join("partial");
    let answer = desk.run_in(&partial, &["impact", "db", "-o", "json"], "");
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let values = &report["secrets"][0]["providers"][0]["values"];
    assert_eq!(values[0]["history"], "incomplete", "{answer:?}");
    // A key might have read what the clone lacks.
    let answer = desk.run_in(&shallow, &["impact", "--key", "production"], "");
    assert_eq!(answer.code, 3, "{answer:?}");
    assert!(answer.stderr.contains("shallow clone"), "{answer:?}");

    let outside = Desk::new();
    let sealed = outside.sealed();
    outside.write("db.sealed.yaml", &sealed);
    outside.write("again.yaml", &sealed.replace("name: db", "name: other"));
    let answer = outside.seal(&["impact"]).done();
    assert_eq!(answer.stderr.matches("not a Git repository").count(), 1);
    assert!(
        answer.stdout.contains("value password: sealed to "),
        "{answer:?}"
    );
}

#[test]
fn a_leaked_key_leads_to_the_workloads_that_use_what_it_can_read() {
    let desk = clusters();
    commit(&desk, "ann", "2026-01-02");
    let leaked = desk.fingerprint(".sealkit/staging.pub");
    let answer = desk.seal(&["impact", "--key", &leaked[..8]]);
    assert_eq!(answer.code, 1, "{answer:?}");
    let lines: Vec<&str> = answer.stdout.lines().collect();
    assert_eq!(lines[0], "Secret shop/db");
    assert!(
        lines[1].contains("(staging/db.sealed.yaml:1) in staging"),
        "{answer:?}"
    );
    for line in [
        "  key password used by Deployment shop/app-staging, env DB_PASSWORD (staging/app.yaml:11) in staging: EXPOSED",
        "  key user used by Deployment shop/app-staging, env DB_USER (staging/app.yaml:13) in staging: EXPOSED",
        "  all keys used by Deployment shop/worker, envFrom (staging/app.yaml:21) in staging: EXPOSED",
    ] {
        assert!(lines.contains(&line), "{line}: {answer:?}");
    }
    assert!(
        !answer.stdout.contains("production/"),
        "the other cluster's value is another one"
    );
    assert!(
        answer
            .stderr
            .contains("2 values that the key can read may be in use here, by 2 workloads"),
        "{answer:?}"
    );

    // A name means the same; the report for code scanning names each use.
    let answer = desk.seal(&["impact", "--key", "staging", "--format", "sarif"]);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let results = report["runs"][0]["results"].as_array().unwrap();
    let places: Vec<(&str, u64)> = results
        .iter()
        .map(|result| {
            assert_eq!(result["ruleId"], "ExposedValue");
            let place = &result["locations"][0]["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            (uri, place["region"]["startLine"].as_u64().unwrap())
        })
        .collect();
    let app = "staging/app.yaml";
    assert_eq!(
        places,
        [
            ("staging/db.sealed.yaml", 1),
            (app, 11),
            (app, 13),
            (app, 21)
        ]
    );
    let answer = desk.seal(&["impact", "--key", "staging", "--format", "mermaid"]);
    assert!(
        answer
            .stdout
            .starts_with("flowchart LR\n  n0[\"Secret shop/db\"]\n"),
        "{answer:?}"
    );
    assert!(
        answer.stdout.ends_with("  class n0,n1,n2,n3 exposed\n"),
        "{answer:?}"
    );

    // One value changes: only its own users are left, and whoever takes the whole Secret.
    let public = desk
        .seal(&["keys", "generate", "--classic", "-w", "../home/second"])
        .done()
        .stdout;
    desk.write(".sealkit/staging.pub", &public);
    let recovery = "../home/recovery";
    desk.seal(&["reseal", "-q", "-i", recovery, "--accept-recipients"])
        .done();
    let file = "staging/db.sealed.yaml";
    desk.pipe(&["set", file, "user", "--accept-recipients"], "new")
        .done();
    commit(&desk, "bob", "2026-02-03");
    let states = |more: &[&str]| -> Vec<(String, String)> {
        let arguments = [&["impact", "--key", &leaked, "-o", "json"], more].concat();
        let answer = desk.seal(&arguments);
        let report: Value = serde_json::from_str(&answer.stdout).unwrap();
        let secrets = report["secrets"].as_array().unwrap();
        assert_eq!(answer.code, i32::from(!secrets.is_empty()), "{answer:?}");
        let uses = secrets.iter().flat_map(|it| it["uses"].as_array().unwrap());
        uses.map(|it| {
            let text = |field: &str| it[field].as_str().unwrap().to_owned();
            (text("how"), text("exposed"))
        })
        .collect()
    };
    let pairs = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        all.iter()
            .map(|(one, two)| ((*one).to_owned(), (*two).to_owned()))
            .collect()
    };
    let blind = [
        ("env DB_PASSWORD", "exposed"),
        ("env DB_USER", "sealed-anew"),
        ("envFrom", "exposed"),
    ];
    assert_eq!(states(&[]), pairs(&blind));
    let proven = [("env DB_PASSWORD", "exposed"), ("envFrom", "exposed")];
    assert_eq!(states(&["-i", recovery]), pairs(&proven));
    desk.pipe(&["set", file, "password", "--accept-recipients"], "new")
        .done();
    commit(&desk, "bob", "2026-02-04");
    assert_eq!(states(&["-i", recovery]), pairs(&[]));
    desk.refused(&["impact", "--key", "stagin"], "", 3, "names this key");
}

#[test]
fn the_picture_shows_makers_users_and_what_is_missing() {
    let desk = shop();
    let answer = desk.seal(&["impact", "--format", "mermaid"]);
    assert_eq!(answer.code, 1);
    for line in [
        "  n0[\"Secret shop/db\"]",
        "  n1[\"SealedSecret shop/db<br>db.sealed.yaml:1<br>password: not committed<br>user: not committed\"]",
        "  n1 --> n0",
        "  n0 -->|\"key password, env DB#95;PASSWORD\"| n2",
        "  n0 -.->|\"key usr, env DB#95;USER: MISSING\"| n2",
    ] {
        let line = line.replace("#95;", "_");
        assert!(
            answer.stdout.lines().any(|it| it == line),
            "{line}: {answer:?}"
        );
    }
    // A name cannot draw anything else.
    desk.write(
        "app.yaml",
        &APP.replace("name: app,", "name: 'app\"] --> x[\"y',"),
    );
    let answer = desk.seal(&["impact", "--format", "mermaid"]);
    assert!(
        answer.stdout.contains("app#34;#93; --#62; x#91;#34;y<br>"),
        "{answer:?}"
    );
    let answer = desk.seal(&["impact", "--format", "sarif"]);
    let report: Value = serde_json::from_str(&answer.stdout).unwrap();
    let results = report["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    assert!(results.iter().all(|it| it["ruleId"] == "MissingReference"));
}
