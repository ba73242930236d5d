//! Old values that come back in another spelling, which other programs read as the same.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::support::{Desk, secret};

const CONFIG: &str = "version: 1\nclusters:\n  production: {recipients: [.sealkit/production.pub]}\n\
    recovery: [.sealkit/recovery.pub]\n";
const FILE: &str = "db.sealed.yaml";

/// A repository whose `main` changed B once: with the old value, the new one, and the commit that
/// had the old one.
struct Story {
    desk: Desk,
    old: String,
    new: String,
    commit: String,
}

impl Story {
    fn new() -> Self {
        let desk = Desk::repository(&["production", "recovery"], CONFIG);
        let values = [("A", "1"), ("B", "2")];
        desk.pipe(&["-w", FILE], secret("db", &values)).done();
        desk.git(&["checkout", "-q", "-b", "main"]);
        desk.commit("begin");
        let old = value(&desk);
        let commit = desk.git(&["rev-parse", "HEAD"]).trim()[..12].to_owned();
        desk.pipe(&["set", FILE, "B"], "new").done();
        desk.commit("B changed");
        let new = value(&desk);
        Self {
            desk,
            old,
            new,
            commit,
        }
    }

    fn found(&self) -> Vec<String> {
        let answer = self.desk.seal(&["verify", "--base", "main"]);
        let lines: Vec<_> = answer.stdout.lines().map(str::to_owned).collect();
        let codes: &[i32] = if lines.is_empty() { &[0] } else { &[1, 6] };
        assert!(codes.contains(&answer.code), "{answer:?}");
        lines
    }

    /// Is the old value found as one?
    fn rollback(&self) -> bool {
        let what = format!("an old one, last seen in commit {}", self.commit);
        let found = self.found();
        found
            .iter()
            .any(|line| line.contains("Rollback") && line.contains(&what))
    }
}

/// The value of B.
fn value(desk: &Desk) -> String {
    let text = desk.read(FILE);
    let line = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("B: "));
    line.unwrap().to_owned()
}

fn escaped(text: &str, escape: impl Fn(u32) -> String) -> String {
    text.chars()
        .map(|character| escape(character.into()))
        .collect()
}

/// Cut into lines of the usual length.
fn lines(text: &str, between: &str) -> String {
    let pieces: Vec<&str> = text
        .as_bytes()
        .chunks(60)
        .map(|it| str::from_utf8(it).unwrap())
        .collect();
    pieces.join(between)
}

#[test]
fn no_spelling_hides_an_old_value_in_an_object() {
    let story = Story::new();
    let (desk, old) = (&story.desk, &story.old);
    let text = desk.read(FILE);
    let encoded = BASE64_STANDARD.encode(old);
    let table = [
        format!("\"{}\"", escaped(old, |it| format!("\\x{it:02x}"))),
        format!("\"{}\"", escaped(old, |it| format!("\\u{it:04X}"))),
        format!("\"{}\"", escaped(old, |it| format!("\\U{it:08x}"))),
        format!("\"{}\"", lines(old, "\\\n      ")),
        format!("\"{}\"", lines(old, "\\\n\\\n      ")),
        format!("\"{}\"", lines(old, "\n      ")),
        format!(">-\n      {}", lines(old, "\n      ")),
        format!("|-\n      {}", lines(old, "\n      ")),
        lines(old, "\n      "),
        format!("!!str\n      {old}"),
        format!("!!binary {encoded}"),
        format!("!!binary |\n      {}", lines(&encoded, "\n      ")),
        format!("&x {old}"),
        format!("'{old}'"),
    ];
    for spelling in table {
        desk.write(FILE, &text.replace(&story.new, &spelling));
        assert!(story.rollback(), "{spelling}: {:?}", story.found());
    }
    // The new one may be spelled in any way.
    desk.write(
        FILE,
        &text.replace(
            &story.new,
            &format!("\"{}\"", lines(&story.new, "\\\n      ")),
        ),
    );
    assert_eq!(story.found(), [""; 0]);
}

#[test]
fn no_spelling_hides_an_old_value_in_another_file() {
    let story = Story::new();
    let (desk, old) = (&story.desk, &story.old);
    let unicode = escaped(old, |it| format!("\\u{it:04x}"));
    let patch = format!("- op: replace\n  path: /spec/encryptedData/B\n  value: {old}\n");
    let strategic = format!("kind: SealedSecret\nspec:\n  encryptedData:\n    B: \"{unicode}\"\n");
    let table = [
        ("patch.yaml", patch.clone()),
        (
            "patch.json",
            format!("[{{\"op\": \"replace\", \"value\": \"{unicode}\"}}]\n"),
        ),
        (
            "kustomization.yaml",
            format!("patches:\n- patch: {strategic:?}\n"),
        ),
        (
            "kustomization.yaml",
            format!(
                "patches:\n- patch: |\n    {}\n",
                strategic.replace('\n', "\n    ")
            ),
        ),
        (
            "kustomization.yaml",
            format!(
                "patches: [{{? patch\n  : '[{{\"value\": \"{}\"}}]'}}]\n",
                lines(&unicode, "\\\n   ")
            ),
        ),
        (
            "map.yaml",
            format!(
                "kind: ConfigMap\ndata:\n  x: {:?}\n",
                format!("a: {:?}\n", strategic)
            ),
        ),
        (
            "map.yaml",
            format!(
                "kind: ConfigMap\nbinaryData:\n  x: {}\n",
                BASE64_STANDARD.encode(&patch)
            ),
        ),
        (
            "map.yaml",
            format!(
                "kind: ConfigMap\nbinaryData:\n  x: >-\n    {}\n",
                lines(&BASE64_STANDARD.encode(&strategic), "\n    ")
            ),
        ),
        (
            "map.yaml",
            format!(
                "data: {}\n",
                BASE64_STANDARD.encode(BASE64_STANDARD.encode(&patch))
            ),
        ),
        (
            "list.yaml",
            format!("kind: List\nitems:\n- kind: List\n  items: [{{value: {old}}}]\n"),
        ),
        ("merge.yaml", format!("a: &a {{v: {old}}}\nb: {{<<: *a}}\n")),
        (
            "tabs.json",
            format!("// comment\n{{\n\t\"v\":\t\"{old}\",\r\n}}\r\n"),
        ),
        (
            "chart/x.yaml",
            format!(
                "{{{{ if .x }}}}\nv: {{{{ \"{}\" }}}}{{{{ \"{}\" }}}}\n",
                &old[..50],
                &old[50..]
            ),
        ),
        (
            "x.url",
            format!(
                "https://example.com/?v={}\n",
                escaped(old, |it| format!("%{it:02X}"))
            ),
        ),
        ("x.xml", escaped(old, |it| format!("&#{it};"))),
        ("go.tmpl", escaped(old, |it| format!("\\{it:03o}"))),
    ];
    for (name, content) in table {
        desk.write(name, &content);
        assert!(story.rollback(), "{content}: {:?}", story.found());
        std::fs::remove_file(desk.path(name)).unwrap();
        let new = content.replace(old.as_str(), &story.new);
        if new != content {
            desk.write(name, &new);
            let found = story.found();
            assert!(
                found.iter().all(|it| it.contains("Unreadable")),
                "{found:?}"
            );
            std::fs::remove_file(desk.path(name)).unwrap();
        }
    }
    for (big, mark) in [(false, [0xff, 0xfe]), (true, [0xfe, 0xff])] {
        let units = patch.encode_utf16();
        let text = units.flat_map(|unit| {
            if big {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            }
        });
        let bytes: Vec<u8> = mark.into_iter().chain(text).collect();
        std::fs::write(desk.path("utf16.yaml"), bytes).unwrap();
        assert!(story.rollback());
        std::fs::remove_file(desk.path("utf16.yaml")).unwrap();
    }
    let name = OsStr::from_bytes(b"caf\xe9.yaml");
    std::fs::write(desk.work().join(name), &patch).unwrap();
    assert!(story.rollback(), "a name that is not UTF-8");
    desk.git(&["add", "-A"]);
    assert!(story.rollback());
}

/// A longer value of the same envelope, folded, is no reason to overlook a shorter one.
#[test]
fn no_folded_decoy_hides_an_old_value_beside_it() {
    let desk = Desk::repository(&["production", "recovery"], CONFIG);
    let long = "c".repeat(400);
    let values = [("B", "2"), ("CERT", long.as_str())];
    desk.pipe(&["-w", FILE], secret("db", &values)).done();
    desk.git(&["checkout", "-q", "-b", "main"]);
    desk.commit("begin");
    let (old, text) = (value(&desk), desk.read(FILE));
    let cert = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("CERT: "));
    let (one, two) = cert.unwrap().split_at(300);
    let commit = desk.git(&["rev-parse", "HEAD"]).trim()[..12].to_owned();
    desk.pipe(&["set", FILE, "B"], "new").done();
    desk.commit("B changed");
    let new = value(&desk);
    let story = Story {
        desk,
        old,
        new,
        commit,
    };
    let decoy = format!("# {one}\n# {two}\n");
    let patch = |value: &str| {
        let operation = format!("{{op: replace, path: /spec/encryptedData/B, value: {value}}}");
        format!("patches:\n- patch: |\n    - {operation}\n{decoy}")
    };
    let forged = format!("{}A", &story.old[..story.old.len() - 4]);
    story
        .desk
        .write("apps/kustomization.yaml", &patch(&story.old));
    assert!(story.rollback(), "{:?}", story.found());
    story.desk.write("apps/kustomization.yaml", &patch(&forged));
    let found = story.found();
    assert!(
        found.len() == 1 && found[0].contains("Reused: a value in line 3"),
        "{found:?}"
    );
    // The folded value alone is one that main has.
    let alone = format!("resources: []\n{decoy}");
    story.desk.write("apps/kustomization.yaml", &alone);
    assert_eq!(story.found(), [""; 0]);
}

/// The history may have it in another spelling too.
#[test]
fn an_old_value_is_known_however_the_history_spells_it() {
    for form in ["escaped", "encoded", "encoded in lines"] {
        let desk = Desk::repository(&["production", "recovery"], CONFIG);
        desk.pipe(&["-w", FILE], secret("db", &[("A", "1"), ("B", "2")]))
            .done();
        let (old, text) = (value(&desk), desk.read(FILE));
        desk.git(&["checkout", "-q", "-b", "main"]);
        let encoded = BASE64_STANDARD.encode(&text);
        let escaped = escaped(&old, |it| format!("\\x{it:02x}"));
        let map = match form {
            "escaped" => text.replace(&old, &format!("\"{escaped}\"")),
            "encoded" => format!("kind: ConfigMap\nbinaryData: {{x: {encoded}}}\n"),
            _ => format!("binaryData:\n  x: |\n    {}\n", lines(&encoded, "\n    ")),
        };
        desk.write("map.yaml", &map);
        std::fs::remove_file(desk.path(FILE)).unwrap();
        desk.commit("begin");
        std::fs::remove_file(desk.path("map.yaml")).unwrap();
        desk.commit("gone");
        desk.write(FILE, &text);
        let answer = desk.seal(&["verify", "--base", "main"]);
        assert!(
            answer.stdout.contains("Rollback: the value of B"),
            "{form}: {answer:?}"
        );
    }
}

#[test]
fn what_cannot_be_compared_is_found() {
    let story = Story::new();
    let desk = &story.desk;
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    for name in ["lfs.sealed.yaml", "lfs.txt", "lfs.patch", "lfs"] {
        desk.write(name, pointer);
        let found = story.found();
        let what = format!("{name}: Unreadable: Git LFS");
        assert!(found.len() == 1 && found[0].contains(&what), "{found:?}");
        std::fs::remove_file(desk.path(name)).unwrap();
    }
    // A checkout with Git LFS shows what it points to.
    desk.git(&["checkout", "-q", "-b", "lfs"]);
    store(desk, "lfs.txt", "", pointer);
    desk.write("lfs.txt", "large\n");
    assert_eq!(story.found(), [""; 0]);
    desk.write("lfs.txt", &story.old);
    assert!(story.rollback());
    store(desk, "lfs.txt", "", &format!("{pointer}{}\n", story.old));
    desk.write("lfs.txt", "large\n");
    assert!(story.rollback(), "a pointer is no place to hide in");
    desk.git(&["reset", "-q", "--hard", "main"]);

    desk.write(".git/info/attributes", "*.sealed.yaml filter=lfs\n");
    assert_eq!(story.found(), [""; 0], "no file changed");
    desk.pipe(&["set", FILE, "A"], "later").done();
    let found = story.found();
    assert!(
        found.len() == 1 && found[0].contains("db.sealed.yaml: Unreadable: a filter"),
        "{found:?}"
    );
    std::fs::remove_file(desk.path(".git/info/attributes")).unwrap();
    desk.commit("later");
}

#[test]
fn changes_that_a_sparse_checkout_leaves_out_are_found() {
    let story = Story::new();
    let desk = &story.desk;
    std::fs::create_dir(desk.path("apps")).unwrap();
    desk.write("apps/same.yaml", "kind: A\n");
    desk.commit("more");
    desk.git(&["checkout", "-q", "-b", "topic"]);
    desk.write("apps/patch.yaml", &format!("value: {}\n", story.old));
    desk.commit("a patch");
    assert!(story.rollback());
    desk.git(&["sparse-checkout", "set", ".sealkit"]);
    assert!(!desk.exists("apps/patch.yaml"));
    let found = story.found();
    assert!(found.len() == 1 && story.rollback(), "{found:?}");
}

/// Commits a file as these bytes, with attributes, and checks it out as they say.
fn store(desk: &Desk, name: &str, attributes: &str, bytes: &str) {
    desk.write(name, bytes);
    let id = desk.git(&["hash-object", "-w", "--no-filters", name]);
    desk.write(".gitattributes", attributes);
    desk.git(&["add", ".gitattributes"]);
    let entry = format!("100644,{},{name}", id.trim());
    desk.git(&["update-index", "--add", "--cacheinfo", &entry]);
    desk.git(&["commit", "-q", "-m", "attributes"]);
    std::fs::remove_file(desk.path(name)).unwrap();
    desk.git(&["checkout", "--", name]);
}

/// Programs that know nothing of attributes read what Git has stored.
#[test]
fn attributes_hide_no_old_value_from_this_checkout() {
    let story = Story::new();
    let desk = &story.desk;
    desk.git(&["checkout", "-q", "-b", "topic"]);
    let main = desk.read(FILE);
    let has_old = |name: &str| {
        let bytes = std::fs::read(desk.path(name)).unwrap();
        String::from_utf8_lossy(&bytes).contains(&story.old)
    };
    for (name, attributes) in [
        ("patch.yaml", "*.yaml working-tree-encoding=IBM037\n"),
        ("patch.txt", "*.txt working-tree-encoding=IBM037\n"),
        ("patch.yaml", "*.yaml ident\n"),
    ] {
        let patch = format!("value: '$Id: {}$'\n", story.old);
        store(desk, name, attributes, &patch);
        assert!(!has_old(name));
        assert!(story.rollback(), "{attributes}: {:?}", story.found());
        desk.git(&["reset", "-q", "--hard", "main"]);
        assert_eq!(story.found(), [""; 0]);
    }
    let attributes = "*.sealed.yaml working-tree-encoding=IBM037\n";
    let old = main.replace(&story.new, &story.old);
    store(desk, FILE, attributes, &old);
    assert!(!has_old(FILE));
    let found = story.found();
    let says = |what: &str| found.iter().any(|line| line.contains(what));
    assert!(
        found.len() == 2
            && says("shop/db: Rollback: the value of B is an old one")
            && says("(as Git stores the file)")
            && says("Unreadable: Git checks this file out in another encoding"),
        "{found:?}"
    );
    // Line ends alone change nothing.
    desk.git(&["reset", "-q", "--hard", "main"]);
    desk.pipe(&["set", FILE, "A"], "later").done();
    store(desk, FILE, "* text eol=crlf\n", &desk.read(FILE));
    assert!(desk.read(FILE).contains("\r\n"));
    assert_eq!(story.found(), [""; 0]);
    store(desk, FILE, "* text eol=crlf\n", &old);
    let found = story.found();
    assert!(found.len() == 1 && story.rollback(), "{found:?}");
}

#[test]
fn submodules_are_searched_or_found() {
    let story = Story::new();
    let desk = &story.desk;
    let other = Desk::new();
    other.git_init();
    other.write("patch.yaml", &format!("value: {}\n", story.old));
    other.commit("a patch");
    let origin = other.work().display().to_string();
    let add = [
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        &origin,
        "sub",
    ];
    desk.git(&add);
    assert!(story.rollback());
    std::fs::create_dir(desk.path("sub/empty")).unwrap();
    assert!(story.found().iter().all(|line| line.contains("Rollback")));
    desk.git(&["submodule", "deinit", "-q", "-f", "sub"]);
    let found = story.found();
    assert!(
        found.len() == 1 && found[0].contains("sub: Unreadable: the submodule changed"),
        "{found:?}"
    );
    desk.commit("a submodule");
    assert_eq!(story.found(), [""; 0], "main has it");
}

const ADD: [&str; 5] = ["-c", "protocol.file.allow=always", "submodule", "add", "-q"];

/// A repository with an object for the recipients of another: with the old value of B in its first
/// commit, and a new one in its second.
fn other_of(desk: &Desk) -> Desk {
    let other = Desk::new();
    other.git_init();
    let to = ["-R", "production.pub", "-R", "recovery.pub"];
    for name in ["production", "recovery"] {
        let key = desk.read(&format!(".sealkit/{name}.pub"));
        other.write(&format!("{name}.pub"), &key);
    }
    let mut seal = vec!["-w", FILE];
    seal.extend(to);
    let values = [("A", "1"), ("B", "2")];
    other.pipe(&seal, secret("other", &values)).done();
    other.commit("begin");
    let mut set = vec!["set", FILE, "B"];
    set.extend(to);
    other.pipe(&set, "new").done();
    other.commit("B changed");
    other
}

#[test]
fn a_submodule_that_goes_back_brings_no_old_value_unseen() {
    let story = Story::new();
    let desk = &story.desk;
    let other = other_of(desk);
    let origin = other.work().display().to_string();
    desk.git(&[&ADD[..], &[&origin, "sub"]].concat());
    desk.commit("a submodule");
    assert_eq!(story.found(), [""; 0]);

    desk.git(&["checkout", "-q", "-b", "topic"]);
    desk.git(&["-C", "sub", "checkout", "-q", "HEAD^"]);
    desk.commit("back");
    let rollback = |path: &str| {
        let found = story.found();
        let what = format!("{path}: shop/other: Rollback: the value of B is an old one");
        found.iter().any(|line| line.starts_with(&what))
    };
    assert!(rollback("sub/db.sealed.yaml"), "{:?}", story.found());
    // Under another path, it is the same one.
    desk.git(&["mv", "sub", "moved"]);
    desk.commit("moved");
    assert!(rollback("moved/db.sealed.yaml"), "{:?}", story.found());
    desk.git(&["mv", "moved", "sub"]);
    desk.commit("moved back");
    desk.git(&["checkout", "-q", "main"]);
    desk.git(&["submodule", "update", "-q", "--force"]);
    assert_eq!(story.found(), [""; 0]);

    other.write("more.txt", "more\n");
    other.commit("more");
    desk.git(&["-C", "sub", "pull", "-q", "origin", "HEAD"]);
    desk.git(&["add", "sub"]);
    assert_eq!(story.found(), [""; 0]);
    let head = desk.git(&["-C", "sub", "rev-parse", "HEAD"]);
    desk.write(".git/modules/sub/shallow", &head);
    let found = story.found();
    assert!(
        found.len() == 1 && found[0].contains("sub: Unreadable: the submodule changed and is a sh"),
        "{found:?}"
    );
}

#[test]
fn a_submodule_in_a_submodule_is_searched_or_found() {
    let story = Story::new();
    let desk = &story.desk;
    let inner = Desk::new();
    inner.git_init();
    inner.write("patch.yaml", &format!("value: {}\n", story.old));
    inner.commit("a patch");
    let other = other_of(desk);
    let origin = other.work().display().to_string();
    desk.git(&[&ADD[..], &[&origin, "sub"]].concat());
    desk.commit("a submodule");
    let inside = inner.work().display().to_string();
    other.git(&[&ADD[..], &[&inside, "inner"]].concat());
    other.commit("another");
    desk.git(&["-C", "sub", "pull", "-q", "origin", "HEAD"]);
    desk.git(&["add", "sub"]);
    let found = story.found();
    let what = "sub/inner: Unreadable: the submodule changed and is not checked out";
    assert!(found.len() == 1 && found[0].contains(what), "{found:?}");
    let update = ["submodule", "update", "-q", "--init", "--recursive"];
    desk.git(&[&ADD[..2], &update].concat());
    assert!(story.rollback(), "{:?}", story.found());
}

#[test]
fn a_config_in_a_changed_submodule_is_found() {
    let story = Story::new();
    let desk = &story.desk;
    let other = other_of(desk);
    let origin = other.work().display().to_string();
    desk.git(&[&ADD[..], &[&origin, "sub"]].concat());
    desk.commit("a submodule");
    other.write(
        ".sealkit.yaml",
        "version: 1\nclusters: {x: {recipients: [key.pub]}}\n",
    );
    other.commit("a config");
    desk.git(&["-C", "sub", "pull", "-q", "origin", "HEAD"]);
    desk.git(&["add", "sub"]);
    let found = story.found();
    let what = "sub/.sealkit.yaml: NewRecipient: cluster x has a new recipient";
    assert!(found.iter().any(|line| line.contains(what)), "{found:?}");
}
