use crate::support::{Desk, SECRET};

const CONFIG: &str = "version: 1\nclusters:\n  staging: {recipients: [.sealkit/staging.pub]}\n  \
    production: {recipients: [.sealkit/production.pub], context: prod}\nrecovery: [.sealkit/recovery.pub]\n\
    rules:\n- path: clusters/production/**\n  clusters: [production]\n- path: base/**\n  \
    clusters: [staging, production]\n  scope: namespace-wide\ndefaults: {scope: strict}\n";

fn repository() -> Desk {
    Desk::repository(&["staging", "production", "recovery"], CONFIG)
}

fn prints(desk: &Desk, names: &[&str]) -> Vec<String> {
    let mut prints: Vec<_> = names
        .iter()
        .map(|name| desk.fingerprint(&format!(".sealkit/{name}.pub")))
        .collect();
    prints.sort();
    prints
}

#[test]
fn the_rule_for_the_path_chooses() {
    let desk = repository();
    desk.pipe(&["-w", "clusters/production/"], SECRET).done();
    let file = "clusters/production/db.sealed.yaml";
    assert_eq!(
        desk.hints(file),
        [prints(&desk, &["production", "recovery"])]
    );
    desk.pipe(&["-w", "base/shop/"], SECRET).done();
    let file = "base/shop/db.sealed.yaml";
    assert_eq!(
        desk.hints(file),
        [prints(&desk, &["staging", "production", "recovery"])]
    );
    assert!(desk.read(file).contains("scope: namespace-wide"));
    assert_eq!(
        desk.values("../home/recovery", file),
        serde_json::json!({"password": "hunter2"})
    );

    desk.write("base/plain.yaml", SECRET);
    let answer = desk.seal(&["-f", "base/plain.yaml"]).done();
    assert!(
        answer.stdout.contains("scope: namespace-wide"),
        "the -f path counts when printing"
    );
    let inside = desk.path("base/shop");
    let answer = desk
        .run_in(&inside, &["-w", "db.sealed.yaml", "-v"], SECRET)
        .done();
    assert!(
        answer.stderr.contains("the rule for base/** applies"),
        "any folder of the repository will do"
    );
}

#[test]
fn without_a_rule_the_cluster_must_be_named() {
    let desk = repository();
    let answer = desk.refused(&["-w", "other.yaml"], SECRET, 3, "covers this path");
    assert!(
        answer
            .stderr
            .contains("--cluster NAME, one of production, staging")
    );
    desk.refused(
        &[],
        SECRET,
        3,
        "the config has several clusters, and no output path for a rule to match",
    );
    desk.refused(
        &["--cluster", "dev"],
        SECRET,
        3,
        "no cluster dev in the config",
    );
    desk.pipe(&["--cluster", "staging", "-w", "other.yaml"], SECRET)
        .done();
    assert_eq!(
        desk.hints("other.yaml"),
        [prints(&desk, &["staging", "recovery"])]
    );
    let desk = Desk::repository(
        &["one"],
        "version: 1\nclusters: {one: {recipients: [.sealkit/one.pub]}}\n",
    );
    desk.pipe(&["-w", "x.yaml"], SECRET).done();
    assert_eq!(desk.hints("x.yaml"), [prints(&desk, &["one"])]);
}

#[test]
fn scope_comes_from_flag_annotation_rule_and_defaults() {
    let desk = repository();
    let annotated = SECRET.replace(
        "namespace: shop",
        "namespace: shop, annotations: {sealkit.dev/scope: cluster-wide}",
    );
    std::fs::create_dir(desk.path("base")).unwrap();
    let scope = |arguments: &[&str], manifest: &str| {
        let file = format!("base/{}.yaml", arguments.len() * 1000 + manifest.len());
        desk.pipe(&[arguments, &["-w", &file]].concat(), manifest)
            .done();
        let text = desk.read(&file);
        text.lines()
            .find_map(|line| line.strip_prefix("  scope: "))
            .unwrap()
            .to_owned()
    };
    assert_eq!(scope(&[], SECRET), "namespace-wide");
    assert_eq!(scope(&[], &annotated), "cluster-wide");
    assert_eq!(scope(&["--scope", "strict"], &annotated), "strict");
    desk.write(
        ".sealkit.yaml",
        &CONFIG.replace("scope: strict", "scope: cluster-wide"),
    );
    let text = desk.pipe(&["--cluster", "staging"], SECRET).done().stdout;
    assert!(text.contains("scope: cluster-wide"));
    let unknown = annotated.replace("cluster-wide", "everything");
    desk.refused(
        &["-w", "base/u.yaml"],
        unknown,
        3,
        "unknown scope \"everything\" in annotation sealkit.dev/scope",
    );
}

#[test]
fn a_changed_key_file_is_noticed() {
    let desk = repository();
    desk.pipe(&["-w", "clusters/production/"], SECRET).done();
    assert!(desk.exists(".git/sealkit/known-recipients"));
    desk.write(".sealkit/production.pub", &desk.read("key.pub"));
    let other = SECRET.replace("name: db", "name: web");
    let seal = ["-w", "clusters/production/"];
    let answer = desk.refused(
        &seal,
        &other,
        3,
        "the recipients of cluster production are ",
    );
    assert!(answer.stderr.contains("pass --accept-recipients"));
    let accept = ["-w", "clusters/production/", "--accept-recipients"];
    let answer = desk.pipe(&accept, &other).done();
    assert!(
        answer
            .stderr
            .contains("note: the recipients of cluster production are ")
    );
    // From now on it is known, but the older file still shows others.
    let web = SECRET.replace("name: db", "name: web2");
    desk.pipe(&seal, web).done();
    desk.refused(&seal, SECRET, 3, "shop/db: the new values are sealed to ");
    let answer = desk.pipe(&accept, SECRET).done();
    assert!(answer.stderr.contains("envelope "));
}

#[test]
fn explicit_recipients_are_compared_with_the_file() {
    let desk = repository();
    desk.pipe(&["-R", "key.pub", "-w", "x.yaml"], SECRET).done();
    let change = ["-R", ".sealkit/staging.pub", "-w", "x.yaml"];
    desk.refused(&change, SECRET, 3, "the new values are sealed to ");
    desk.pipe(&["-R", "key.pub", "-w", "x.yaml"], SECRET).done();
}

#[test]
fn configs_are_strict() {
    let desk = repository();
    let one = "clusters: {a: {recipients: [.sealkit/staging.pub]}}";
    let table = [
        (format!("version: 2\n{one}\n"), "unknown config version 2"),
        (
            format!("version: 1\n{one}\nclusterz: {{}}\n"),
            "unknown field `clusterz`",
        ),
        (
            "version: 1\nclusters: {a: {recipients: [../x.pub]}}\n".into(),
            "points outside the repository",
        ),
        (
            "version: 1\nclusters: {a: {recipients: [/etc/x.pub]}}\n".into(),
            "points outside the repository",
        ),
        (
            format!("version: 1\n{one}\nrecovery: [a/../../x]\n"),
            "points outside the repository",
        ),
        (
            "version: 1\nclusters: {a: {recipients: []}}\n".into(),
            "cluster a has no recipients",
        ),
        (
            format!("version: 1\n{one}\nrules: [{{path: x, clusters: [b]}}]\n"),
            "names cluster b, which the config does not define",
        ),
        (
            format!("version: 1\n{one}\nrules: [{{path: x, clusters: []}}]\n"),
            "has no clusters",
        ),
        (
            format!("version: 1\n{one}\nrules: [{{path: '!x', clusters: [a]}}]\n"),
            "is not a gitignore-style glob",
        ),
        (
            format!("version: 1\n{one}\ndefaults: {{scope: all}}\n"),
            "unknown scope all",
        ),
        (
            format!("version: 1\nversion: 1\n{one}\n"),
            "a map has the same key twice",
        ),
        (
            "version: 1\nclusters: {a: {recipients: [nowhere.pub]}}\n".into(),
            "no such file or folder",
        ),
        (
            "version: 1\nclusters: {a: {recipients: [.sealkit.yaml]}}\n".into(),
            "not an age recipient",
        ),
        ("- a\n".into(), "is not a Kubernetes object"),
        (format!("{one}\n"), "missing field `version`"),
    ];
    for (text, message) in table {
        desk.write(".sealkit.yaml", &text);
        desk.refused(&["-w", "x.yaml"], SECRET, 3, message);
    }
    std::os::unix::fs::symlink("../../home/staging", desk.path(".sealkit/out.pub")).unwrap();
    desk.write(
        ".sealkit.yaml",
        "version: 1\nclusters: {a: {recipients: [.sealkit/out.pub]}}\n",
    );
    desk.refused(
        &["-w", "x.yaml"],
        SECRET,
        3,
        "a symbolic link points outside the repository",
    );
}

#[test]
fn a_nested_config_is_an_error() {
    let desk = repository();
    desk.write("clusters/production/.sealkit.yaml", CONFIG);
    let answer = desk.refused(
        &["-w", "clusters/production/x.yaml"],
        SECRET,
        3,
        "a repository has one config",
    );
    assert!(answer.stderr.contains("clusters/production/.sealkit.yaml"));
}

#[test]
fn a_config_further_up_is_not_trusted_outside_a_repository() {
    let desk = Desk::new();
    desk.write(
        ".sealkit.yaml",
        "version: 1\nclusters: {a: {recipients: [key.pub]}}\n",
    );
    std::fs::create_dir(desk.path("below")).unwrap();
    desk.pipe(&["-q"], SECRET).done();
    let answer = desk.run_in(&desk.path("below"), &[], SECRET);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.contains("no recipient to seal to"));
}

#[test]
fn without_any_recipient_the_three_ways_are_told() {
    let desk = Desk::new();
    let answer = desk.refused(
        &["-w", "x.yaml"],
        SECRET,
        2,
        "error: no recipient to seal to",
    );
    assert_eq!(answer.stderr.matches("seal: hint: ").count(), 3);
    desk.refused(
        &["--cluster", "a"],
        SECRET,
        2,
        "no .sealkit.yaml defines this cluster, a",
    );
}

#[test]
fn all_work_trees_of_a_clone_know_the_same_recipients() {
    let desk = repository();
    let git = |arguments: &[&str]| {
        let mut git = std::process::Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments);
        assert!(
            git.current_dir(desk.work())
                .output()
                .unwrap()
                .status
                .success()
        );
    };
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "a"]);
    git(&["worktree", "add", "-q", "../tree"]);
    desk.pipe(&["-w", "clusters/production/"], SECRET).done();
    let tree = desk.path("../tree");
    let seal = ["-w", "clusters/production/"];
    desk.run_in(&tree, &seal, SECRET).done();
    std::fs::copy(desk.path("key.pub"), tree.join(".sealkit/production.pub")).unwrap();
    let answer = desk.run_in(&tree, &seal, SECRET);
    assert_eq!(answer.code, 3);
    assert!(
        answer
            .stderr
            .contains("the recipients of cluster production are "),
        "{}",
        answer.stderr
    );
}

#[test]
fn a_config_that_is_a_link_out_is_refused() {
    let desk = repository();
    std::fs::rename(desk.path(".sealkit.yaml"), desk.path("../home/config")).unwrap();
    std::os::unix::fs::symlink("../home/config", desk.path(".sealkit.yaml")).unwrap();
    desk.refused(
        &["-w", "base/"],
        SECRET,
        3,
        "a symbolic link points outside the repository",
    );
}
