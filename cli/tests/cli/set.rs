use serde_json::json;

use crate::support::Step::{Hidden, See, Signal, Type};
use crate::support::{Desk, SECRET, objects, secret};

const FILE: &str = "db.yaml";

fn desk() -> Desk {
    let desk = Desk::new();
    let manifest = secret("db", &[("A", "one"), ("B", "two")]);
    desk.pipe(&["-R", "key.pub", "-w", FILE], manifest).done();
    let text = desk
        .read(FILE)
        .replace("spec:\n", "# ours\nspec: # sealed\n");
    desk.write(FILE, &text);
    desk
}

fn lost(before: &str, after: &str) -> Vec<String> {
    let lines = before
        .lines()
        .filter(|line| !after.lines().any(|other| other == *line));
    lines.map(str::to_owned).collect()
}

#[test]
fn one_value_changes_and_nobody_needs_a_key() {
    let desk = desk();
    let before = desk.read(FILE);
    let answer = desk
        .pipe(&["set", FILE, "A", "-R", "key.pub"], "three")
        .done();
    assert_eq!(
        (answer.stdout.as_str(), answer.stderr.as_str()),
        (
            "",
            "seal: note: sealed for shop/db with scope strict\nsealed db.yaml\n"
        )
    );
    let after = desk.read(FILE);
    let gone = lost(&before, &after);
    assert!(gone.len() == 1 && gone[0].contains("A: sk1."), "{gone:?}");
    assert_eq!(desk.values("key", FILE), json!({"A": "three", "B": "two"}));

    // Several at once share an envelope; new keys stand in order.
    desk.write("c.txt", "four\n");
    desk.write("empty", "");
    let several = [
        "set",
        FILE,
        "AA=@c.txt",
        "C=@-",
        "E=@empty",
        "-R",
        "key.pub",
    ];
    let answer = desk.pipe(&several, "five\n").done();
    for note in [
        "note: the value of C ends with a line feed",
        "note: shop/db had no value for AA, C, E before",
    ] {
        assert!(answer.stderr.contains(note), "{answer:?}");
    }
    let values = json!({"A": "three", "AA": "four\n", "B": "two", "C": "five\n", "E": ""});
    assert_eq!(desk.values("key", FILE), values);
    assert_eq!(desk.hints(FILE).len(), 3);

    desk.seal(&["unset", FILE, "AA", "C", "E"]).done();
    assert_eq!(desk.values("key", FILE), json!({"A": "three", "B": "two"}));
    assert_eq!(desk.hints(FILE).len(), 2, "an envelope without values goes");
    assert_eq!(
        lost(&desk.read(FILE), &after),
        [""; 0],
        "unset gives back what was there"
    );
    desk.seal(&["unset", FILE, "A", "B"]).done();
    assert!(desk.read(FILE).contains("# ours\nspec: # sealed\n"));
    assert_eq!(
        objects(&desk.read(FILE))[0]["spec"]["encryptedData"],
        json!({})
    );
    desk.pipe(&["set", FILE, "Z", "-R", "key.pub"], "last")
        .done();
    assert_eq!(desk.values("key", FILE), json!({"Z": "last"}));
}

/// A pull request may have sealed a placeholder with a wider scope: the real value, set later, would
/// be for every tenant.
#[test]
fn a_scope_wider_than_the_rules_is_refused_unless_the_flag_says_it_again() {
    let key = "clusters: {a: {recipients: [key.pub]}}\n";
    let rule = format!("{key}rules: [{{path: '*.yaml', clusters: [a], scope: namespace-wide}}]\n");
    let default = format!("{key}defaults: {{scope: cluster-wide}}\n");
    let scopes = ["strict", "namespace-wide", "cluster-wide"];
    for (config, widest) in [(key, 0), (&*rule, 1), (&*default, 2)] {
        let desk = Desk::new();
        desk.write(".sealkit.yaml", &format!("version: 1\n{config}"));
        for (index, scope) in scopes.into_iter().enumerate() {
            let file = format!("{scope}.yaml");
            desk.pipe(&["-q", "--scope", scope, "-w", &file], SECRET)
                .done();
            let said = format!("note: sealed for shop/db with scope {scope}");
            let set = ["set", &file, "password"];
            if index > widest {
                let answer = desk.refused(&set, "x", 3, &format!("has scope {scope}"));
                let hint = format!("pass --scope {scope}");
                assert!(answer.stderr.contains(&hint), "{answer:?}");
            } else {
                let answer = desk.pipe(&set, "x").done();
                assert!(answer.stderr.contains(&said), "{answer:?}");
            }
            let again = ["set", &file, "password", "--scope", scope];
            let answer = desk.pipe(&again, "y").done();
            assert!(answer.stderr.contains(&said), "{answer:?}");
            let values = json!({"password": "y"});
            assert_eq!(desk.values("key", &file), values, "{scope}");
            // The flag confirms a scope, it does not change one.
            let other = scopes[(index + 1) % 3];
            let changed = ["set", &file, "password", "--scope", other];
            desk.refused(&changed, "x", 3, "has scope");
        }
    }
}

#[test]
fn templates_read_new_values_only_if_the_flag_says_so() {
    let desk = Desk::new();
    // A template reads it if that is said.
    desk.pipe(&["-R", "key.pub", "-w", FILE], SECRET).done();
    let text = desk.read(FILE) + "  template: {data: {out: '{{ .new }}'}}\n";
    desk.write(FILE, &text);
    let set = ["set", FILE, "new", "-R", "key.pub"];
    let answer = desk.refused(&set, "x", 3, "templates of the object read new");
    assert!(answer.stderr.contains("--render"), "{answer:?}");
    // What they do not read needs no more.
    desk.pipe(&["set", FILE, "news", "--new", "-R", "key.pub"], "x")
        .done();
    desk.seal(&["unset", FILE, "news"]).done();
    let render = ["set", FILE, "new", "-R", "key.pub", "--render"];
    desk.pipe(&render, "x").done();
    assert_eq!(desk.values("key", FILE)["out"], "x");
    // What is rendered can be asked for by name, and what is read cannot be taken away.
    let out = desk
        .seal(&["open", "-i", "key", FILE, "--key", "out"])
        .done();
    assert_eq!(out.stdout, "x");
    desk.refused(
        &["unset", FILE, "new"],
        "",
        3,
        "templates of the object read new",
    );
    desk.refused(
        &["-R", "key.pub", "-w", FILE],
        secret("db", &[("new", "y")]),
        3,
        "templates of the object read new",
    );
}

#[test]
fn the_object_is_chosen_by_name() {
    let desk = Desk::new();
    let stream = format!(
        "{}\n---\n{}",
        secret("a", &[("k", "1")]),
        secret("b", &[("k", "2")])
    );
    desk.pipe(&["-R", "key.pub", "-w", FILE], stream).done();
    let several = "more than one SealedSecret";
    let answer = desk.refused(&["unset", FILE, "k"], "", 3, several);
    assert!(
        answer
            .stderr
            .contains("--name and -n: SealedSecret shop/a, SealedSecret shop/b")
    );
    let set = [
        "set", FILE, "k", "--name", "b", "-n", "shop", "-R", "key.pub",
    ];
    desk.pipe(&set, "new").done();
    let values = objects(
        &desk
            .seal(&["open", "-i", "key", "--decode", FILE])
            .done()
            .stdout,
    );
    assert_eq!(values[0]["stringData"]["k"], "1");
    assert_eq!(values[1]["stringData"]["k"], "new");
    desk.refused(
        &["unset", FILE, "k", "-n", "other"],
        "",
        3,
        "no such SealedSecret",
    );
}

#[test]
fn what_cannot_be_set_is_refused_and_nothing_changes() {
    let desk = desk();
    desk.write("map.yaml", "kind: ConfigMap\napiVersion: v1\n");
    desk.write("broken.yaml", "kind: [\n");
    let flow = serde_json::to_string(&objects(&desk.read(FILE))[0]).unwrap();
    desk.write("flow.yaml", &format!("# x\n{flow}\n"));
    let table: &[(&[&str], &str, i32, &str)] = &[
        (
            &["set", FILE, "A=hunter2"],
            "",
            2,
            "a value on the command line",
        ),
        (
            &["set", FILE, "a/b"],
            "x",
            2,
            "not a key that Kubernetes allows",
        ),
        (&["set", FILE, "A"], "", 3, "no value was read"),
        (
            &["set", FILE, "A", "B"],
            "x",
            2,
            "stdin can be read only once",
        ),
        (&["set", FILE, "A", "A=@key.pub"], "x", 2, "given twice"),
        (&["set", FILE, "A=@none"], "", 3, "no such file"),
        (&["set", "none.yaml", "A"], "x", 3, "no such file"),
        (&["set", "map.yaml", "A"], "x", 3, "no such SealedSecret"),
        (&["set", "broken.yaml", "A"], "x", 3, "not valid YAML"),
        (
            &["set", "flow.yaml", "A"],
            "x",
            3,
            "can't be edited in place",
        ),
        (&["unset", FILE, "A", "Q"], "", 3, "no key \"Q\""),
        (
            &["unset", "flow.yaml", "A"],
            "",
            3,
            "can't be edited in place",
        ),
        (
            &["unset", FILE],
            "",
            2,
            "required arguments were not provided",
        ),
    ];
    for (arguments, stdin, code, text) in table {
        let mut arguments = arguments.to_vec();
        if arguments[0] == "set" {
            arguments.extend(["-R", "key.pub"]);
        }
        let answer = desk.refused(&arguments, stdin, *code, text);
        assert!(!answer.stderr.contains("hunter2"));
    }
    // The value is not asked for before it is known that it can be sealed.
    desk.refused(&["set", FILE, "A", "-R", "none.pub"], "x", 3, "none.pub");
}

/// Tools write keys in capitals that people wrote small, and fingers slip.
#[test]
fn a_key_that_looks_misspelt_is_added_only_if_that_is_said() {
    let desk = Desk::new();
    let manifest = secret("db", &[("password", "one"), ("DB_HOST", "two")]);
    desk.pipe(&["-R", "key.pub", "-w", FILE], manifest).done();
    for (key, meant) in [
        ("PASSWORD", "password"),
        ("pasword", "password"),
        ("DB_HSOT", "DB_HOST"),
    ] {
        let set = ["set", FILE, key, "-R", "key.pub"];
        let answer = desk.refused(&set, "x", 2, &format!("has no key {key}, but {meant}"));
        assert!(answer.stderr.contains("--new"), "{answer:?}");
    }
    let both = [
        "set",
        FILE,
        "password",
        "PASSWORD=@key.pub",
        "-R",
        "key.pub",
    ];
    desk.refused(&both, "x", 2, "but password");
    desk.pipe(&["set", FILE, "PASSWORD", "--new", "-R", "key.pub"], "x")
        .done();
    desk.pipe(&["set", FILE, "TOKEN", "-R", "key.pub"], "y")
        .done();
    let values = json!({"password": "one", "PASSWORD": "x", "DB_HOST": "two", "TOKEN": "y"});
    assert_eq!(desk.values("key", FILE), values);
}

#[test]
fn a_person_is_asked_whether_a_new_key_is_meant() {
    let desk = desk();
    let set = ["set", FILE, "PASSWORD", "-R", "key.pub"];
    let before = desk.read(FILE);
    let no = desk.on_terminal(
        &set,
        &[See("has no key PASSWORD. Add PASSWORD? [y/N]"), Type("\n")],
    );
    assert_eq!(no.code, 2, "{no:?}");
    assert_eq!(desk.read(FILE), before);
    let yes = [
        See("Add PASSWORD?"),
        Type("y\n"),
        See("value of PASSWORD"),
        Hidden,
        Type("typed\n"),
    ];
    let yes = desk.on_terminal(&set, &yes);
    assert_eq!(yes.code, 0, "{yes:?}");
    assert!(!yes.stdout.contains("typed"), "{yes:?}");
    assert_eq!(desk.values("key", FILE)["PASSWORD"], "typed");
}

/// Whatever is asked for: the run ends, the terminal shows again what is typed, nothing is left.
#[test]
fn a_signal_ends_every_prompt() {
    let mut desk = desk();
    let set = ["set", FILE, "A", "-R", "key.pub"];
    let before = desk.read(FILE);
    for end in [Type("\u{3}"), Signal("TERM"), Signal("HUP")] {
        let answer = desk.on_terminal(&set, &[See("value of A"), Hidden, end]);
        assert!(
            answer.code == 3 && answer.stdout.contains("interrupted"),
            "{answer:?}"
        );
    }
    let new = ["set", FILE, "NEW", "-R", "key.pub"];
    for end in [Type("\u{3}"), Signal("TERM")] {
        let answer = desk.on_terminal(&new, &[See("[y/N]"), end]);
        assert!(
            answer.code == 3 && answer.stdout.contains("interrupted"),
            "{answer:?}"
        );
    }
    desk.write(
        "editor.sh",
        "echo 'kind: [' > \"$1\"; dirname \"$1\" > folder\n",
    );
    let editor = format!("sh {}", desk.path("editor.sh").display());
    desk.set("EDITOR", &editor);
    let edit = ["edit", FILE, "-i", "key", "-R", "key.pub"];
    for end in [Type("\u{3}"), Signal("TERM"), Signal("USR1")] {
        let answer = desk.on_terminal(&edit, &[See("edit it again?"), end]);
        assert!(
            answer.code == 3 && answer.stdout.contains("interrupted"),
            "{answer:?}"
        );
        let folder = desk.read("folder");
        assert!(!std::path::Path::new(folder.trim()).exists(), "{folder}");
    }
    assert_eq!(desk.read(FILE), before);
}

#[test]
fn generated_values_are_never_shown() {
    let desk = desk();
    let set = |more: &[&str]| {
        let answer = desk
            .pipe(&[&["set", FILE, "-R", "key.pub"], more].concat(), "")
            .done();
        let shown = answer.stdout + &answer.stderr;
        let values = desk.values("key", FILE);
        for (_, value) in values.as_object().unwrap() {
            let value = value.as_str().unwrap();
            assert!(value.len() < 8 || !shown.contains(value), "{shown}");
        }
        (values, shown)
    };
    let (values, _) = set(&["A", "--generate"]);
    let first = values["A"].as_str().unwrap().to_owned();
    assert!(first.len() == 32 && first.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(values["B"], "two", "others stay");
    let (values, shown) = set(&["A", "C", "--generate=hex:64"]);
    let both = [&values["A"], &values["C"]].map(|value| value.as_str().unwrap());
    for value in both {
        assert!(value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    assert!(both[0] != both[1] && !shown.contains("warning"), "{shown}");
    let (values, shown) = set(&["A", "--generate=digits:6"]);
    assert_eq!(values["A"].as_str().unwrap().len(), 6);
    assert!(shown.contains("can be guessed by trying"), "{shown}");
    // What a file gives is not drawn.
    desk.write("given", "from-a-file");
    let (values, _) = set(&["A", "B=@given", "--generate=20"]);
    assert_eq!(values["B"], "from-a-file");
    assert_eq!(values["A"].as_str().unwrap().len(), 20);
    let before = desk.read(FILE);
    for bad in [
        "--generate=0",
        "--generate=words:4",
        "--generate=5000",
        "--generate=",
    ] {
        desk.refused(&["set", FILE, "A", bad], "", 2, "--generate");
    }
    assert_eq!(desk.read(FILE), before);
}

#[test]
fn runs_at_the_same_time_lose_no_value() {
    let desk = desk();
    let keys: Vec<String> = (0..12).map(|number| format!("K{number}")).collect();
    std::thread::scope(|scope| {
        for key in &keys {
            let desk = &desk;
            scope.spawn(move || {
                let set = ["set", FILE, key, "-R", "key.pub"];
                desk.pipe(&set, key).done();
            });
        }
        let desk = &desk;
        scope.spawn(move || desk.seal(&["unset", FILE, "B"]).done());
        let more = secret("db", &[("MORE", "m")]);
        scope.spawn(move || desk.pipe(&["-R", "key.pub", "-w", FILE], more).done());
    });
    let values = desk.values("key", FILE);
    assert_eq!(values.as_object().unwrap().len(), 14, "{values}");
    for key in &keys {
        assert_eq!(values[key], **key);
    }
}

#[test]
fn the_last_value_and_one_that_the_type_needs_do_not_go_in_silence() {
    let desk = Desk::new();
    let tls = secret("web", &[("tls.crt", "c"), ("tls.key", "k")]);
    let tls = tls.replace(
        "\"stringData\"",
        "\"type\":\"kubernetes.io/tls\",\"stringData\"",
    );
    desk.pipe(&["-R", "key.pub", "-w", FILE], tls).done();
    let answer = desk.seal(&["unset", FILE, "tls.crt"]).done();
    assert!(
        answer
            .stderr
            .contains("of type kubernetes.io/tls needs tls.crt"),
        "{answer:?}"
    );
    let answer = desk.seal(&["unset", FILE, "tls.key"]).done();
    assert!(
        answer.stderr.contains("has no value any more"),
        "{answer:?}"
    );
}

#[test]
fn a_name_that_a_chart_fills_in_is_no_obstacle_where_nothing_is_bound_to_it() {
    let desk = Desk::new();
    desk.pipe(
        &["-R", "key.pub", "--scope", "namespace-wide", "-w", "s.yaml"],
        SECRET,
    )
    .done();
    let text = desk.read("s.yaml");
    desk.write(
        "s.yaml",
        &text.replace("name: db", "name: '{{ .Release.Name }}-db'"),
    );
    let set = [
        "set",
        "s.yaml",
        "A",
        "-R",
        "key.pub",
        "--scope",
        "namespace-wide",
    ];
    desk.pipe(&set, "one").done();
    assert!(desk.read("s.yaml").contains("    A: sk1."));
    desk.pipe(&["-R", "key.pub", "-w", "t.yaml"], SECRET).done();
    let text = desk.read("t.yaml");
    desk.write(
        "t.yaml",
        &text.replace("name: db", "name: '{{ .Release.Name }}-db'"),
    );
    desk.refused(
        &["set", "t.yaml", "A", "-R", "key.pub"],
        "one",
        3,
        "an invalid name",
    );
}
