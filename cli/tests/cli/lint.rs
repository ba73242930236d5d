use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{Answer, Desk, SECRET, secret};

/// Each finding as `path:line:column: Code`.
fn findings(answer: &Answer) -> Vec<String> {
    assert!(!answer.stdout.contains("hunter2"), "{}", answer.stdout);
    let lines: Vec<String> = answer
        .stdout
        .lines()
        .map(|line| line.splitn(3, ": ").take(2).collect::<Vec<_>>().join(": "))
        .collect();
    assert_eq!(answer.code, i32::from(!lines.is_empty()), "{answer:?}");
    lines
}

fn lint(desk: &Desk, arguments: &[&str]) -> Vec<String> {
    findings(&desk.seal(&[&["lint"], arguments].concat()))
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A repository with a copy of a folder of this project in it.
fn copied(folder: &str) -> Desk {
    let desk = Desk::new();
    desk.git_init();
    std::fs::remove_file(desk.path("key")).unwrap();
    let source = root().join(folder).join(".");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(source)
        .arg(desk.work())
        .status();
    assert!(copied.unwrap().success());
    desk
}

/// The files and what is expected in them are in `cli/tests/corpus/lint`. To see what a change of
/// the rules does: `git init` a copy of the folder, and run `seal lint` there.
#[test]
fn the_corpus_of_tricky_files_has_the_expected_findings() {
    let desk = copied("cli/tests/corpus/lint");
    let expected = desk.read("expected.txt");
    std::fs::remove_file(desk.path("expected.txt")).unwrap();
    desk.write("kustomize/not-committed.env", "PASSWORD=hunter2\n");
    let found = lint(&desk, &[]);
    assert_eq!(found, expected.lines().collect::<Vec<_>>());
    // The same without Git, but for what Git would not commit.
    std::fs::remove_dir_all(desk.path(".git")).unwrap();
    let mut without = lint(&desk, &[]);
    without.retain(|line| !line.starts_with("kustomize/kustomization.yaml:9:"));
    let sorted = |lines: &[String]| lines.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sorted(&without), sorted(&found));
}

#[test]
fn our_own_examples_docs_and_manifests_are_clean() {
    for folder in ["examples", "docs", "deploy"] {
        let desk = copied(folder);
        assert_eq!(lint(&desk, &[]), [""; 0], "{folder}");
    }
}

#[test]
fn what_git_ignores_is_not_looked_at_unless_it_is_named() {
    let desk = Desk::new();
    desk.git_init();
    desk.write(".git/info/exclude", "/key\n/out\n");
    desk.write("out/a.yaml", SECRET);
    desk.write("db.sealed.yaml", &desk.sealed());
    desk.write("deep/b.yaml", SECRET);
    assert_eq!(lint(&desk, &[]), ["deep/b.yaml:4:14: PlaintextSecret"]);
    assert_eq!(
        lint(&desk, &["deep"]),
        ["deep/b.yaml:4:14: PlaintextSecret"]
    );
    assert_eq!(lint(&desk, &["out"]), ["out/a.yaml:4:14: PlaintextSecret"]);
    assert_eq!(lint(&desk, &["key"]).len(), 1);
    assert_eq!(lint(&desk, &["db.sealed.yaml", "out/a.yaml"]).len(), 1);
    desk.refused(&["lint", "gone.yaml"], "", 3, "no such file");
    // A submodule, or a repository inside of this one.
    desk.write("inner/c.yaml", SECRET);
    let inner = desk.path("inner");
    let init = Command::new("git")
        .args(["init", "-q"])
        .current_dir(&inner)
        .status();
    assert!(init.unwrap().success());
    assert_eq!(
        lint(&desk, &["inner"]),
        ["inner/c.yaml:4:14: PlaintextSecret"]
    );
    assert!(lint(&desk, &[]).contains(&"inner/c.yaml:4:14: PlaintextSecret".to_owned()));
}

#[test]
fn stdin_is_a_manifest() {
    let desk = Desk::new();
    let answer = desk.pipe(&["lint", "--stdin"], SECRET);
    assert_eq!(findings(&answer), ["stdin:4:14: PlaintextSecret"]);
    desk.pipe(&["lint", "--stdin"], desk.sealed()).done();
    desk.refused(&["lint", "--stdin", "x.yaml"], "", 2, "cannot be used with");
}

#[test]
fn the_index_counts_and_what_was_committed_before_does_not() {
    let desk = Desk::new();
    desk.git_init();
    desk.write("old.yaml", SECRET);
    desk.commit("old");
    desk.write("old.yaml", &format!("# moved\n{SECRET}"));
    desk.write("new.json", &secret("web", &[("k", "hunter2")]));
    desk.write(
        "kustomization.yaml",
        "secretGenerator: [{name: a, envs: [a.env]}]\n",
    );
    desk.write("a.env", "K=hunter2\n");
    assert_eq!(lint(&desk, &["--staged"]), [""; 0]);
    desk.git(&["add", "old.yaml", "new.json", "kustomization.yaml"]);
    // Only the index matters: there is no such file yet.
    desk.write("new.json", "{}");
    assert_eq!(
        lint(&desk, &["--staged"]),
        ["new.json:1:95: PlaintextSecret"]
    );
    desk.git(&["add", "a.env", "new.json"]);
    assert_eq!(
        lint(&desk, &["--staged"]),
        ["kustomization.yaml:1:36: PlaintextSecret"]
    );
    desk.git(&["rm", "-q", "--cached", "-f", "kustomization.yaml"]);
    // A new value of an old key is new.
    desk.write("old.yaml", &SECRET.replace("hunter2", "hunter23"));
    desk.git(&["add", "old.yaml"]);
    assert_eq!(
        lint(&desk, &["--staged"]),
        ["old.yaml:4:14: PlaintextSecret"]
    );
}

#[test]
fn a_baseline_accepts_what_is_there_and_tells_nothing_of_values() {
    let desk = Desk::new();
    desk.git_init();
    desk.write("a/b.yaml", SECRET);
    desk.seal(&["lint", "--write-baseline", "base.yaml"]).done();
    let text = desk.read("base.yaml");
    assert!(
        text.contains("path: a/b.yaml") && text.contains("PlaintextSecret"),
        "{text}"
    );
    desk.write("other.yaml", &SECRET.replace("hunter2", "other"));
    desk.seal(&["lint", "--write-baseline", "base2.yaml", "a"])
        .done();
    assert_eq!(desk.read("base2.yaml"), text, "only names make it");
    assert_eq!(
        lint(&desk, &["--baseline", "base.yaml"]),
        ["other.yaml:4:14: PlaintextSecret"]
    );
    assert_eq!(lint(&desk, &["--baseline", "base.yaml", "a"]), [""; 0]);
    // A further key is a further finding, and so is a second Secret of that name.
    desk.write("a/b.yaml", &format!("{SECRET}---\n{SECRET}"));
    assert_eq!(lint(&desk, &["--baseline", "base.yaml", "a"]).len(), 1);
    desk.write(
        "a/b.yaml",
        &SECRET.replace("{password:", "{user: x, password:"),
    );
    assert_eq!(lint(&desk, &["--baseline", "base.yaml", "a"]).len(), 1);
    std::fs::remove_file(desk.path("other.yaml")).unwrap();
    desk.write("a/b.yaml", "a: 1\n");
    let answer = desk.seal(&["lint", "--baseline", "base.yaml"]).done();
    assert!(
        answer.stderr.contains("1 entries of the baseline"),
        "{answer:?}"
    );
    desk.write("base.yaml", "version: 2\n");
    desk.refused(
        &["lint", "--baseline", "base.yaml"],
        "",
        3,
        "unknown version 2",
    );
}

#[test]
fn rules_can_be_skipped() {
    let desk = Desk::new();
    desk.write("a.yaml", &SECRET.replace("hunter2", "changeme"));
    assert_eq!(lint(&desk, &["a.yaml"]), ["a.yaml:4:14: Placeholder"]);
    assert_eq!(lint(&desk, &["a.yaml", "--skip", "Placeholder"]), [""; 0]);
    desk.refused(
        &["lint", "--skip", "Nothing"],
        "",
        2,
        "invalid value 'Nothing'",
    );
}

/// What every form must say of the same finding.
#[test]
fn programs_get_every_form() {
    let desk = Desk::new();
    desk.git_init();
    desk.write("a b/c%.yaml", SECRET);
    let report = |arguments: &[&str]| {
        let answer = desk.seal(&[&["lint"], arguments].concat());
        assert_eq!(answer.code, 1, "{answer:?}");
        assert!(!answer.stdout.contains("hunter2"));
        answer.stdout
    };
    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();

    let plain = json(report(&["-o", "json"]));
    let finding = &plain["findings"][0];
    assert_eq!(finding["path"], "a b/c%.yaml");
    assert_eq!(
        (finding["line"].as_u64(), finding["column"].as_u64()),
        (Some(4), Some(14))
    );
    assert_eq!(finding["object"], "shop/db");
    assert_eq!(finding["code"], "PlaintextSecret");
    assert_eq!(finding["severity"], "error");
    assert_eq!(plain["scanned"]["secrets"], 1);

    let sarif = json(report(&["--format", "sarif"]));
    let result = &sarif["runs"][0]["results"][0];
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "a%20b/c%25.yaml");
    assert_eq!(place["region"]["startLine"], 4);
    assert_eq!(
        result["partialFingerprints"]["sealkit/v1"],
        finding["fingerprint"]
    );

    let gitlab = json(report(&["--format", "gitlab"]));
    assert_eq!(gitlab[0]["location"]["lines"]["begin"], 4);
    assert_eq!(gitlab[0]["fingerprint"], finding["fingerprint"]);

    let github = report(&["--format", "github"]);
    assert!(
        github.starts_with(
            "::error file=a b/c%25.yaml,line=4,col=14,title=PlaintextSecret::Secret shop/db has"
        ),
        "{github}"
    );
    desk.refused(
        &["lint", "--format", "sarif", "-o", "json"],
        "",
        2,
        "cannot be used with",
    );
    // The fingerprint stays where the value and the place change.
    desk.write(
        "a b/c%.yaml",
        &format!("# x\n{}", SECRET.replace("hunter2", "other")),
    );
    assert_eq!(
        json(report(&["-o", "json"]))["findings"][0]["fingerprint"],
        finding["fingerprint"]
    );
}

#[test]
fn a_comment_allows_a_commit_and_no_request() {
    let desk = Desk::new();
    desk.git_init();
    desk.write("a.yaml", "a: 1\n");
    desk.commit("first");
    desk.seal(&["git", "install"]).done();
    let key = desk.read("key");
    desk.write("b.yaml", &format!("# seal:allow a demo\n{SECRET}"));
    desk.write(
        "keys.txt",
        &format!("# seal:allow a test\n{}", key.lines().last().unwrap()),
    );
    desk.git(&["add", "b.yaml", "keys.txt"]);
    desk.git(&["commit", "-q", "-m", "allowed"]);
    desk.seal(&["verify"]).done();
    let answer = desk.seal(&["verify", "--base", "HEAD~1"]);
    assert_eq!(answer.code, 1, "{answer:?}");
    assert!(answer.stdout.contains("PlaintextSecret") && answer.stdout.contains("PrivateKey"));
    desk.write("c.yaml", &SECRET.replace("hunter2", "changeme"));
    desk.git(&["add", "c.yaml"]);
    let commit = desk.try_git(&["commit", "-q", "-m", "x"]);
    let said = String::from_utf8_lossy(&commit.stderr).into_owned();
    assert!(
        !commit.status.success() && said.contains("Placeholder"),
        "{commit:?}"
    );
}

#[test]
fn the_hook_is_optional_updated_and_removed() {
    let desk = Desk::new();
    desk.git_init();
    let hook = ".git/hooks/pre-commit";
    desk.seal(&["git", "install", "--no-hook"]).done();
    assert!(!desk.exists(hook) && desk.exists(".gitattributes"));
    desk.seal(&["git", "install"]).done();
    let text = desk.read(hook);
    assert!(
        text.ends_with("\nseal lint --staged && exec seal verify --staged\n"),
        "{text}"
    );
    // As it was before there was `seal lint`.
    let old = text.replace("seal lint --staged && ", "");
    desk.write(hook, &old);
    desk.seal(&["git", "install"]).done();
    assert_eq!(desk.read(hook), text);
    desk.seal(&["git", "uninstall"]).done();
    assert!(!desk.exists(hook) && desk.exists(".gitattributes"));
    assert!(
        !desk
            .try_git(&["config", "merge.sealkit.driver"])
            .status
            .success()
    );
    let own = "#!/bin/sh\nseal verify --staged && other\n";
    desk.write(hook, own);
    desk.git(&["update-index", "--refresh"]);
    desk.seal(&["git", "uninstall"]).done();
    assert_eq!(desk.read(hook), own);
}

/// What the pipelines run, as GitHub and GitLab would, on a repository with a finding.
#[test]
fn the_pipelines_report_findings_and_write_their_files() {
    let read = |path: &str| -> Value {
        let text = std::fs::read(root().join(path)).unwrap();
        sealkit_core::manifest::read_documents(&text).unwrap()[0]
            .object
            .clone()
    };
    let desk = Desk::new();
    desk.git_init();
    desk.write("a.yaml", SECRET);
    let run = |shell: &[&str], script: &str, variables: &[(&str, &str)]| {
        let bin = Path::new(env!("CARGO_BIN_EXE_seal")).parent().unwrap();
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
        let output = Command::new(shell[0])
            .args(&shell[1..])
            .arg(script)
            .current_dir(desk.work())
            .env("PATH", path)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };

    let action = read("deploy/ci/github/action.yml");
    let script = |step: usize| action["runs"]["steps"][step]["run"].as_str().unwrap();
    let bash = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"];
    assert_eq!(run(&bash, script(0), &[]).0, Some(0));
    let variables = [
        ("SEAL_PATHS", "."),
        ("SEAL_BASELINE", ""),
        ("SEAL_SARIF", "out.sarif"),
    ];
    let (code, said) = run(&bash, script(1), &variables);
    assert!(
        code == Some(1) && said.starts_with("::error file=a.yaml,line=4"),
        "{said}"
    );
    assert!(desk.read("out.sarif").contains("\"2.1.0\""));
    desk.seal(&["lint", "--write-baseline", "base.yaml"]).done();
    let accepted = [
        ("SEAL_PATHS", "a.yaml"),
        ("SEAL_BASELINE", "base.yaml"),
        ("SEAL_SARIF", ""),
    ];
    assert_eq!(run(&bash, script(1), &accepted), (Some(0), String::new()));
    let hostile = [
        ("SEAL_PATHS", "$(touch x) ;touch"),
        ("SEAL_BASELINE", ""),
        ("SEAL_SARIF", ""),
    ];
    assert_eq!(run(&bash, script(1), &hostile).0, Some(3));
    assert!(!desk.exists("x"));
    // Whatever the steps use is an input.
    for name in ["paths", "baseline", "sarif"] {
        assert!(action["inputs"][name]["default"].is_string(), "{name}");
        assert!(
            action["runs"]["steps"][1]["env"]
                .to_string()
                .contains(&format!("inputs.{name} "))
        );
    }

    let job = read("deploy/ci/gitlab.yml")["seal-lint"].clone();
    let lines = [&job["before_script"], &job["script"]];
    let lines = lines.iter().flat_map(|lines| lines.as_array().unwrap());
    let script: Vec<&str> = lines.map(|line| line.as_str().unwrap()).collect();
    let (code, said) = run(
        &["sh", "-ec"],
        &script.join("\n"),
        &[("SEAL_LINT_ARGUMENTS", "")],
    );
    assert!(
        code == Some(1) && said.contains("a.yaml:4:14: PlaintextSecret"),
        "{said}"
    );
    let report = job["artifacts"]["reports"]["codequality"].as_str().unwrap();
    let report: Value = serde_json::from_str(&desk.read(report)).unwrap();
    assert_eq!(report[0]["check_name"], "PlaintextSecret");

    let hooks = sealkit_core::manifest::read_value(
        &std::fs::read_to_string(root().join(".pre-commit-hooks.yaml")).unwrap(),
    );
    for hook in hooks.unwrap().as_array().unwrap() {
        for field in ["id", "name", "entry", "language"] {
            assert!(hook[field].is_string(), "{hook}");
        }
        let mut words = hook["entry"]
            .as_str()
            .unwrap()
            .split(' ')
            .skip(1)
            .collect::<Vec<_>>();
        words.push("--help");
        desk.seal(&words).done();
    }
}

#[test]
fn what_the_config_ignores_is_passed_over_unless_it_is_named() {
    let desk = Desk::new();
    desk.git_init();
    desk.write("fixtures/a.yaml", SECRET);
    desk.write("b.yaml", SECRET);
    desk.write(".sealkit.yaml", "version: 1\nignore: [fixtures/]\n");
    assert_eq!(lint(&desk, &[]), ["b.yaml:4:14: PlaintextSecret"]);
    assert_eq!(lint(&desk, &["fixtures"]), [""; 0]);
    assert_eq!(lint(&desk, &["fixtures/a.yaml"]).len(), 1);
    desk.git(&["add", "."]);
    assert_eq!(lint(&desk, &["--staged"]), ["b.yaml:4:14: PlaintextSecret"]);
    desk.write(".sealkit.yaml", "version: 1\nignore: ['!x']\n");
    desk.refused(&["lint"], "", 3, "ignore: !x is not a gitignore-style glob");
}
