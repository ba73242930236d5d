use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::{Desk, SECRET, objects, secret};

#[test]
fn only_what_was_sealed_changes_in_a_file() {
    let desk = Desk::new();
    let both = secret("db", &[("password", "one"), ("user", "bob")]);
    desk.pipe(&["-R", "key.pub", "-w", "db.yaml"], both).done();
    let commented = format!("# owned by shop\n{}", desk.read("db.yaml"));
    desk.write("db.yaml", &commented);
    std::fs::set_permissions(desk.path("db.yaml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let answer = desk
        .pipe(&["-R", "key.pub", "-w", "db.yaml"], SECRET)
        .done();
    assert_eq!(
        answer.stderr,
        "seal: note: shop/db keeps user, which the input does not have: --prune removes such keys\n\
         seal: note: sealed for shop/db with scope strict\nsealed db.yaml\n"
    );
    let after = desk.read("db.yaml");
    let gone: Vec<_> = commented
        .lines()
        .filter(|line| !after.contains(*line))
        .collect();
    assert!(
        gone.len() == 1 && gone[0].trim_start().starts_with("password: sk1."),
        "{gone:?}"
    );
    assert_eq!(
        desk.values("key", "db.yaml"),
        json!({"password": "hunter2", "user": "bob"})
    );
    let mode = desk
        .path("db.yaml")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640, "the mode of the old file is kept");
    let left: Vec<_> = std::fs::read_dir(desk.work())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().starts_with(".seal-")),
        "{left:?}"
    );
}

#[test]
fn a_stream_updates_some_and_adds_others() {
    let desk = Desk::new();
    desk.pipe(&["-R", "key.pub", "-w", "all.yaml"], SECRET)
        .done();
    let more = format!(
        "{}\n---\n{}",
        secret("db", &[("user", "bob")]),
        secret("web", &[("a", "b")])
    );
    desk.pipe(&["-R", "key.pub", "-w", "all.yaml"], more).done();
    let text = desk.read("all.yaml");
    assert_eq!(objects(&text).len(), 2);
    let keys = objects(&text)[0]["spec"]["encryptedData"]
        .as_object()
        .unwrap()
        .len();
    assert_eq!(keys, 2);
}

#[test]
fn nothing_foreign_is_overwritten() {
    let desk = Desk::new();
    desk.write(
        "config.yaml",
        "kind: ConfigMap\napiVersion: v1\nmetadata: {name: c}\n",
    );
    desk.write("notes.txt", "remember the milk: today: yes\n");
    desk.write("only-comment.yaml", "# nothing yet\n");
    desk.pipe(
        &["-R", "key.pub", "-w", "other.yaml"],
        secret("other", &[("a", "b")]),
    )
    .done();
    let seal = |file| ["-R", "key.pub", "-w", file];
    let elsewhere = "the file already exists and holds something else";
    for file in ["config.yaml", "other.yaml", "only-comment.yaml"] {
        desk.refused(&seal(file), SECRET, 3, elsewhere);
    }
    desk.refused(
        &seal("notes.txt"),
        SECRET,
        3,
        "the file to update is damaged",
    );
    let damaged = desk
        .read("other.yaml")
        .replace("kind: SealedSecret", "kind: SealedSecret\nkind: x");
    desk.write("twice.yaml", &damaged);
    desk.refused(
        &seal("twice.yaml"),
        secret("other", &[("a", "b")]),
        3,
        "a map has the same key twice",
    );
    // An object of ours with a foreign one beside it is updated; nothing is added to it.
    let mixed = format!("{}---\n{}", desk.read("config.yaml"), desk.sealed());
    desk.write("mixed.yaml", &mixed);
    desk.pipe(&seal("mixed.yaml"), SECRET).done();
    assert!(desk.read("mixed.yaml").starts_with("kind: ConfigMap"));
    let more = format!("{SECRET}---\n{}", secret("web", &[("a", "b")]));
    desk.refused(&seal("mixed.yaml"), more, 3, elsewhere);
    desk.write("empty.yaml", "");
    desk.pipe(&seal("empty.yaml"), SECRET).done();
}

#[test]
fn a_failure_in_one_file_leaves_all_files() {
    let desk = Desk::new();
    desk.write("out/b.sealed.yaml", "kind: ConfigMap\napiVersion: v1\n");
    let stream = format!(
        "{}\n---\n{}",
        secret("a", &[("k", "1")]),
        secret("b", &[("k", "2")])
    );
    desk.refused(&["-R", "key.pub", "-w", "out/"], stream, 3, "b.sealed.yaml");
    assert!(!desk.exists("out/a.sealed.yaml"));
}

/// Somebody sealed the object anew with a wider scope. The manifest that `seal open` prints of it
/// repeats that scope, and is no second opinion.
#[test]
fn a_widened_object_takes_no_values_unless_the_flag_says_its_scope() {
    let desk = Desk::new();
    let wide = ["-R", "key.pub", "-w", "db.yaml", "--scope", "cluster-wide"];
    desk.pipe(&wide, SECRET).done();
    let seal = ["-R", "key.pub", "-w", "db.yaml"];
    let wider = "has scope cluster-wide, but its path has scope strict";
    let annotated = SECRET.replace(
        "namespace: shop",
        "namespace: shop, annotations: {sealkit.dev/scope: cluster-wide}",
    );
    for manifest in [SECRET, &annotated] {
        let answer = desk.refused(&seal, manifest, 3, wider);
        assert!(answer.stderr.contains("--scope cluster-wide"), "{answer:?}");
    }
    let answer = desk.pipe(&wide, SECRET).done();
    let told = "sealed for shop/db with scope cluster-wide: every object in every namespace";
    assert!(answer.stderr.contains(told), "{answer:?}");
    // In a new file the manifest's word is enough, and is said.
    let new = ["-R", "key.pub", "-w", "new.yaml"];
    let answer = desk.pipe(&new, &annotated).done();
    assert!(answer.stderr.contains(told), "{answer:?}");
}

#[test]
fn another_scope_or_layout_is_refused() {
    let desk = Desk::new();
    desk.pipe(&["-R", "key.pub", "-w", "db.yaml"], SECRET)
        .done();
    let wide = [
        "-R",
        "key.pub",
        "-w",
        "db.yaml",
        "--scope",
        "namespace-wide",
    ];
    let answer = desk.refused(
        &wide,
        SECRET,
        3,
        "has scope strict, but these values are sealed with scope namespace-wide",
    );
    assert!(answer.stderr.contains("hint: seal with --scope strict"));
    let flow = "{apiVersion: sealkit.dev/v1beta1, kind: SealedSecret, metadata: {name: db, namespace: shop}, \
        spec: {encryptedData: {}, envelopes: {}}}\n";
    desk.write("flow.yaml", &format!("# c\n{flow}"));
    desk.refused(
        &["-R", "key.pub", "-w", "flow.yaml"],
        SECRET,
        3,
        "laid out in a way that can't be edited in place",
    );
}

#[test]
fn a_changed_type_is_told() {
    let desk = Desk::new();
    desk.pipe(&["-R", "key.pub", "-w", "db.yaml"], SECRET)
        .done();
    let typed = format!("{SECRET}type: example.com/db\n");
    let answer = desk.pipe(&["-R", "key.pub", "-w", "db.yaml"], typed).done();
    assert!(
        answer
            .stderr
            .contains("warning: shop/db: the file keeps its template, and with it the type Opaque")
    );
}

#[test]
fn envelopes_are_counted() {
    let desk = Desk::new();
    // Built from the objects of single runs: the 65 runs themselves would be refused one by one.
    let mut object = objects(
        &desk
            .pipe(&["-R", "key.pub"], secret("db", &[("k0", "v")]))
            .done()
            .stdout,
    )[0]
    .clone();
    let mut fill = |from: usize, to: usize| {
        for n in from..to {
            let key = format!("k{n}");
            let one = objects(
                &desk
                    .pipe(&["-R", "key.pub"], secret("db", &[(&key, "v")]))
                    .done()
                    .stdout,
            )[0]
            .clone();
            for section in ["envelopes", "encryptedData"] {
                let more = one["spec"][section].as_object().unwrap().clone();
                object["spec"][section]
                    .as_object_mut()
                    .unwrap()
                    .extend(more);
            }
        }
        desk.write(
            "db.yaml",
            &sealkit_core::manifest::to_yaml(&[&object]).unwrap(),
        );
    };
    fill(1, 15);
    let update = |name: &str| {
        desk.pipe(
            &["-R", "key.pub", "-w", "db.yaml"],
            secret("db", &[(name, "v")]),
        )
    };
    assert!(
        update("k15")
            .done()
            .stderr
            .contains("warning: shop/db has 16 envelopes of at most 64")
    );
    fill(15, 64);
    assert!(desk.read("db.yaml").matches("ageFile").count() == 64);
    let more = secret("db", &[("one-more", "v")]);
    let answer = desk.refused(
        &["-R", "key.pub", "-w", "db.yaml"],
        more,
        3,
        "the object has 65 envelopes, but at most 64 are opened",
    );
    assert!(
        answer
            .stderr
            .contains("so that they share an envelope; these have one each: ")
            && answer.stderr.contains("k63")
    );
    assert!(
        answer
            .stderr
            .contains("`seal reseal --fold -i KEYFILE FILE`")
    );
    let several: Vec<_> = (0..40).map(|n| format!("k{n}")).collect();
    let several: Vec<_> = several.iter().map(|key| (key.as_str(), "v")).collect();
    desk.pipe(&["-R", "key.pub", "-w", "db.yaml"], secret("db", &several))
        .done();
    assert_eq!(desk.read("db.yaml").matches("ageFile").count(), 25);
}

#[test]
fn large_objects_are_warned_of_and_too_large_ones_refused() {
    let desk = Desk::new();
    let large = secret("big", &[("k", &"x".repeat(100_000))]);
    let answer = desk.pipe(&["-R", "key.pub"], large).done();
    assert!(
        answer.stderr.contains("warning: shop/big has 13")
            && answer.stderr.contains("bytes: `kubectl apply`")
    );
    let huge = secret("big", &[("k", &"x".repeat(1_000_000))]);
    desk.refused(
        &["-R", "key.pub", "-w", "big.yaml"],
        huge,
        3,
        "too large to seal",
    );
}

#[test]
fn links_are_not_followed_out_of_the_repository() {
    let desk = Desk::new();
    desk.git_init();
    std::os::unix::fs::symlink("../home/stolen.yaml", desk.path("dangling.yaml")).unwrap();
    std::os::unix::fs::symlink("../home", desk.path("folder")).unwrap();
    std::fs::write(desk.path("../home/outside.yaml"), "").unwrap();
    std::os::unix::fs::symlink("../home/outside.yaml", desk.path("link.yaml")).unwrap();
    let seal = |file| ["-R", "key.pub", "-w", file];
    for file in ["link.yaml", "folder/db.yaml"] {
        desk.refused(
            &seal(file),
            SECRET,
            3,
            "a symbolic link points outside the repository",
        );
    }
    desk.refused(&seal("dangling.yaml"), SECRET, 3, "no such file");
    std::os::unix::fs::symlink("real.yaml", desk.path("inside.yaml")).unwrap();
    desk.write("real.yaml", "");
    desk.pipe(&seal("inside.yaml"), SECRET).done();
    assert!(
        desk.path("inside.yaml").is_symlink() && desk.read("real.yaml").contains("SealedSecret")
    );
}

#[test]
fn a_large_stream_is_updated_at_once_and_the_rest_stays() {
    let desk = Desk::new();
    let stream = |from: usize, to: usize| {
        let one = |n| secret(&format!("s{n}"), &[("k", "v")]);
        (from..to).map(one).collect::<Vec<_>>().join("\n---\n")
    };
    let seal = ["-R", "key.pub", "-w", "all.yaml"];
    desk.pipe(&seal, stream(0, 400)).done();
    let before = desk.read("all.yaml").replace("---\n", "---\n# kept\n");
    desk.write("all.yaml", &before);
    desk.pipe(&seal, stream(100, 500)).done();
    let after = desk.read("all.yaml");
    assert_eq!(objects(&after).len(), 500);
    assert_eq!(after.matches("# kept\n").count(), 399);
    let unchanged = before.split("---\n").zip(after.split("---\n"));
    assert_eq!(unchanged.filter(|(old, new)| old == new).count(), 100);
}

#[test]
fn an_object_that_stands_twice_is_not_updated() {
    let desk = Desk::new();
    desk.write(
        "db.yaml",
        &format!("{}---\n{}", desk.sealed(), desk.sealed()),
    );
    let seal = ["-R", "key.pub", "-w", "db.yaml"];
    desk.refused(
        &seal,
        SECRET,
        3,
        "the file holds the SealedSecret shop/db more than once",
    );
}

#[test]
fn a_json_file_stays_json() {
    let desk = Desk::new();
    desk.pipe(&["-R", "key.pub", "-w", "db.json"], SECRET)
        .done();
    desk.pipe(
        &["-R", "key.pub", "-w", "db.json"],
        secret("db", &[("user", "bob")]),
    )
    .done();
    assert!(desk.read("db.json").starts_with('{'));
    assert_eq!(
        desk.values("key", "db.json"),
        json!({"password": "hunter2", "user": "bob"})
    );
    let more = format!("{SECRET}---\n{}", secret("web", &[("a", "b")]));
    desk.pipe(&["-R", "key.pub", "-w", "db.json"], more).done();
    let list = objects(&desk.read("db.json"));
    let names: Vec<_> = list.iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, ["db", "web"]);
    // What is a List, and what is a stream, stays one.
    let stream = format!("{}\n{}\n", list[0], list[1]);
    desk.write("stream.json", &stream);
    for (file, begin) in [
        ("db.json", "{\n  \"apiVersion\": \"v1\""),
        ("stream.json", "{\n  \"apiVersion\": \"sealkit"),
    ] {
        let more = format!("{SECRET}---\n{}", secret("third", &[("a", "b")]));
        desk.pipe(&["-R", "key.pub", "-w", file], more).done();
        let text = desk.read(file);
        assert!(
            text.starts_with(begin) && objects(&text).len() == 3,
            "{text}"
        );
    }
}

#[test]
fn what_of_the_input_does_not_reach_the_file_is_said() {
    let desk = Desk::new();
    let manifest = |team: &str, more: &str, values: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: db, namespace: shop, labels: {{team: {team}, app: shop}}, annotations: {{note: {team}}}}}\n{more}stringData: {values}\n"
        )
    };
    let old = manifest("a", "", "{A: one, OLD: gone}");
    desk.pipe(&["-R", "key.pub", "-w", "db.yaml"], old).done();
    let new = manifest("b", "immutable: true\n", "{A: two}");
    let seal = ["-R", "key.pub", "-w", "db.yaml"];
    let said = desk.pipe(&seal, &new).done().stderr;
    for part in [
        "do not reach it: label team, annotation note, immutable: true;",
        "keeps OLD, which the input does not have",
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.contains("--update-template takes them over"), "{said}");
    assert_eq!(desk.values("key", "db.yaml")["OLD"], "gone");
    let prune = [&seal[..], &["--prune"]].concat();
    let said = desk.pipe(&prune, &new).done().stderr;
    assert!(said.contains("removed OLD"), "{said}");
    assert_eq!(desk.values("key", "db.yaml"), json!({"A": "two"}));
}

#[test]
fn lists_can_be_changed_again() {
    let desk = Desk::new();
    let both = format!(
        "{}\n---\n{}",
        secret("one", &[("A", "a"), ("B", "b")]),
        secret("two", &[("A", "a")])
    );
    desk.pipe(&["-R", "key.pub", "-o", "json", "-w", "l.json"], &both)
        .done();
    desk.pipe(&["-R", "key.pub", "-w", "stream.yaml"], &both)
        .done();
    let items = objects(&desk.read("l.json"));
    desk.write("stream.json", &format!("{}\n{}\n", items[0], items[1]));
    for indent in ["", "  "] {
        let items = desk.read("stream.yaml");
        let items = items.split("---\n").map(|item| {
            let item = item.trim_end().replace('\n', &format!("\n{indent}  "));
            format!("{indent}- {item}\n")
        });
        let items: String = items.collect();
        let list =
            format!("kind: List\nitems: # ours\n{items}apiVersion: v1\n").replace(" # ours", "");
        desk.write(&format!("l{}.yaml", indent.len()), &list);
    }
    for file in ["l.json", "stream.json", "l0.yaml", "l2.yaml"] {
        let before = desk.read(file);
        let set = ["set", file, "A", "--name", "two", "-R", "key.pub"];
        desk.pipe(&set, "new").done();
        desk.seal(&["unset", file, "B", "--name", "one"]).done();
        let more = secret("one", &[("C", "c")]);
        desk.pipe(&["-R", "key.pub", "-w", file], more).done();
        let opened = desk.seal(&["open", "-i", "key", "--decode", "-o", "json", file]);
        let opened: serde_json::Value = serde_json::from_str(&opened.done().stdout).unwrap();
        let values = |item: usize| &opened["items"][item]["stringData"];
        assert_eq!(values(0), &json!({"A": "a", "C": "c"}), "{file}");
        assert_eq!(values(1), &json!({"A": "new"}), "{file}");
        if file.ends_with("yaml") {
            let after = desk.read(file);
            let (first, last) = (before.lines().next(), before.lines().last());
            assert_eq!((after.lines().next(), after.lines().last()), (first, last));
        }
    }
}

/// Kustomize, Flux, Argo CD and `kubectl -n` set the namespace of objects that name none.
#[test]
fn a_file_without_a_namespace_has_that_of_the_flag_or_of_its_rule() {
    let rule = "version: 1\nclusters: {one: {recipients: [.sealkit/one.pub]}}\nrules:\n\
        - {path: 'by-rule/**', clusters: [one], namespace: shop}\n- {path: '**', clusters: [one]}\n";
    let desk = Desk::repository(&["one"], rule);
    desk.seal(&["-f", "-", "-w", "x.yaml"]);
    let key = "../home/one";
    desk.pipe(&["-w", "whole.yaml"], SECRET).done();
    let text = desk.read("whole.yaml").replace("  namespace: shop\n", "");
    for (file, flag) in [("flag.yaml", &["-n", "shop"][..]), ("by-rule/db.yaml", &[])] {
        desk.write(file, &text);
        let with = |arguments: &[&'static str]| [arguments, flag].concat();
        desk.pipe(&with(&["set", file, "B"]), "two").done();
        desk.pipe(&with(&["-w", file]), secret("db", &[("C", "three")]))
            .done();
        desk.seal(&with(&["verify", file])).done();
        desk.seal(&with(&["reseal", "--check", "-i", key, file]))
            .done();
        let opened = desk
            .seal(&with(&["open", "-i", key, "--decode", file]))
            .done();
        for value in ["password: hunter2", "B: two", "C: three"] {
            assert!(opened.stdout.contains(value), "{opened:?}");
        }
        assert!(!desk.read(file).contains("namespace: shop"));
        assert_eq!(objects(&desk.read(file)).len(), 1);
    }
    desk.write("lost.yaml", &text);
    for verb in [
        &["set", "lost.yaml", "B"][..],
        &["open", "-i", key, "lost.yaml"],
    ] {
        let answer = desk.refused(verb, "two", 3, "scope strict binds");
        assert!(answer.stderr.contains("name it with -n NAME"), "{answer:?}");
    }
}

#[test]
fn what_the_input_says_beside_values_is_taken_over_if_the_flag_says_so() {
    let desk = Desk::new();
    let seal = ["-R", "key.pub", "-w", "db.yaml"];
    let old = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop, labels: {team: a, old: x}, annotations: {note: one}}\n\
        stringData: {A: one, OLD: gone}\n";
    desk.pipe(&seal, old).done();
    let text = desk.read("db.yaml");
    let text = text.replace(
        "        team: a\n",
        "        # who\n        team: a # since 2024\n",
    );
    desk.write("db.yaml", &text);
    let new = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop, labels: {team: b}, \
        annotations: {note: two, argocd.argoproj.io/sync-wave: \"3\"}}\ntype: example.com/db\nimmutable: true\nstringData: {A: two}\n";
    let said = desk
        .pipe(&[&seal[..], &["--update-template"]].concat(), new)
        .done()
        .stderr;
    assert!(!said.contains("do not reach"), "{said}");
    let after = desk.read("db.yaml");
    assert!(
        after.contains("        # who\n        team: b # since 2024\n"),
        "{after}"
    );
    let object = &objects(&after)[0];
    let metadata =
        |team: serde_json::Value| json!({"labels": team, "annotations": {"note": "two"}});
    let template =
        |team| json!({"type": "example.com/db", "immutable": true, "metadata": metadata(team)});
    assert_eq!(
        object["spec"]["template"],
        template(json!({"team": "b", "old": "x"}))
    );
    assert_eq!(
        object["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"],
        "3"
    );
    assert_eq!(
        desk.values("key", "db.yaml"),
        json!({"A": "two", "OLD": "gone"})
    );
    let both = [&seal[..], &["--update-template", "--prune"]].concat();
    desk.pipe(&both, new).done();
    let object = &objects(&desk.read("db.yaml"))[0];
    assert_eq!(object["spec"]["template"], template(json!({"team": "b"})));
    // JSON, and items of Lists.
    desk.pipe(&["-R", "key.pub", "-o", "json", "-w", "db.json"], old)
        .done();
    let item = desk.read("db.yaml").replace("team: b", "team: a");
    let item = item.trim_end().replace('\n', "\n  ");
    desk.write(
        "list.yaml",
        &format!("kind: List\napiVersion: v1\nitems:\n- {item}\n"),
    );
    for file in ["db.json", "list.yaml"] {
        desk.pipe(
            &["-R", "key.pub", "-w", file, "--update-template", "--prune"],
            new,
        )
        .done();
        let object = &objects(&desk.read(file))[0];
        assert_eq!(
            object["spec"]["template"],
            template(json!({"team": "b"})),
            "{file}"
        );
    }
}
