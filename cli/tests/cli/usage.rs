use serde_json::Value;

use crate::support::{Desk, SECRET};

const VERBS: [&[&str]; 28] = [
    &["lint"],
    &["impact"],
    &["preapply"],
    &["wait"],
    &["status"],
    &["doctor"],
    &["keys", "usage"],
    &["edit"],
    &["keys", "exposure"],
    &["diff"],
    &["git", "install"],
    &["merge-driver"],
    &["textconv"],
    &["keys", "rotate"],
    &["keys", "retire"],
    &["keys", "backup"],
    &["keys", "restore"],
    &["set"],
    &["unset"],
    &["reseal"],
    &[],
    &["init"],
    &["open"],
    &["verify"],
    &["version"],
    &["keys", "generate"],
    &["keys", "list"],
    &["keys", "fetch"],
];

#[test]
fn every_verb_has_help_with_an_example() {
    let desk = Desk::new();
    for verb in VERBS {
        let answer = desk.seal(&[verb, &["--help"]].concat()).done();
        assert!(
            answer.stdout.contains("Example") && answer.stdout.contains("  seal "),
            "{verb:?}"
        );
        assert!(answer.stderr.is_empty());
    }
    assert_eq!(desk.seal(&["keys"]).code, 2);
}

#[test]
fn wrong_command_lines_exit_with_2() {
    let desk = Desk::new();
    desk.write("s.yaml", SECRET);
    let table: &[(&[&str], &str)] = &[
        (&["--nonsense"], "unexpected argument '--nonsense' found"),
        (&["nonsense"], "unrecognized subcommand 'nonsense'"),
        (&["s.yaml"], "hint: to seal a file, pass -f s.yaml"),
        (&["--scope", "all"], "invalid value 'all'"),
        (&["-o", "xml"], "invalid value 'xml'"),
        (&["-f"], "a value is required"),
        (
            &["-f", "s.yaml", "version"],
            "flags of sealing cannot precede a verb",
        ),
        (&["-q", "-v"], "cannot be used with"),
        (&["--cluster", "a", "-R", "key.pub"], "cannot be used with"),
        (
            &["init", "--no-recovery", "--recovery-key", "x"],
            "cannot be used with",
        ),
    ];
    for (arguments, message) in table {
        let answer = desk.refused(arguments, "", 2, message);
        assert!(
            answer.stderr.starts_with("seal: error: ") && answer.stderr.contains("seal: hint: "),
            "{answer:?}"
        );
        for line in answer.stderr.lines() {
            assert!(!line.ends_with('.'), "{line}");
        }
    }
}

#[test]
fn the_parser_tells_what_it_knows() {
    let desk = Desk::new();
    let table: &[(&[&str], &str)] = &[
        (&["verfy"], "hint: did you mean verify?"),
        (&["--scop", "strict"], "hint: did you mean --scope?"),
        (&["-o", "xml"], "hint: possible values: yaml, json"),
        (&["completions"], "<SHELL>"),
        (
            &["keys", "fetch", "-z"],
            "hint: see `seal keys fetch --help`",
        ),
        (&["-z"], "hint: see `seal --help`"),
        (
            &["wait", "--all", "--timeout", "2"],
            "hint: see `seal wait --help`",
        ),
        (
            &["lint", "--format", "json"],
            "seal: hint: see `seal lint --help`",
        ),
        (
            &["-r", "key.pub"],
            "hint: pass a file of public keys with -R key.pub",
        ),
    ];
    for (arguments, message) in table {
        desk.refused(arguments, SECRET, 2, message);
    }
}

#[test]
fn errors_come_as_json_where_output_does() {
    let desk = Desk::new();
    let table: &[(&[&str], i32, &str)] = &[
        (&["-o", "json"], 2, "usage"),
        (&["--output=json", "--nonsense"], 2, "usage"),
        (&["-o", "json", "-R", "none.pub"], 3, "input"),
        (&["keys", "list", "-o", "json"], 5, "cluster"),
    ];
    for (arguments, code, kind) in table {
        let answer = desk.refused(arguments, SECRET, *code, "");
        let error: Value = serde_json::from_str(&answer.stderr).unwrap();
        assert_eq!(error["error"]["exitCode"], *code);
        assert_eq!(error["error"]["kind"], *kind);
        assert!(error["error"]["what"].is_string() && error["error"]["hints"].is_array());
    }
}

#[test]
fn colours_come_only_when_asked_for() {
    let desk = Desk::new();
    assert!(!desk.seal(&["-R", "none"]).stderr.contains('\u{1b}'));
    assert!(
        desk.seal(&["-R", "none", "--color", "always"])
            .stderr
            .contains('\u{1b}')
    );
}

#[test]
fn global_flags_stand_on_either_side_of_a_verb() {
    let desk = Desk::new();
    for arguments in [["-o", "json", "version"], ["version", "-o", "json"]] {
        let version: Value = serde_json::from_str(&desk.seal(&arguments).done().stdout).unwrap();
        assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    }
    assert_eq!(
        desk.seal(&["version"]).stdout,
        desk.seal(&["--version"]).stdout
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_seal"))
        .arg("version")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
}

#[test]
fn flags_of_kubeseal_get_an_answer() {
    let desk = Desk::new();
    for (flag, hint) in [
        ("--cert=x.pem", "-R FILE"),
        ("--re-encrypt", "seal reseal"),
        ("--recovery-unseal", "seal open -i"),
        ("--merge-into=x.yaml", "-w FILE"),
        ("--controller-name=x", "not needed"),
        ("--raw", "seal set FILE KEY"),
    ] {
        let answer = desk.refused(&[flag], "", 2, "unexpected argument");
        assert!(answer.stderr.contains(hint), "{answer:?}");
    }
    let seal = ["-R", "key.pub", "--format", "json"];
    assert!(desk.pipe(&seal, SECRET).done().stdout.starts_with('{'));
}
