//! Scopes and names of objects: wider than the config wants, or other than before.

use crate::support::{Desk, SECRET, secret};

const CONFIG: &str = "version: 1\nclusters:\n  production: {recipients: [.sealkit/production.pub]}\n\
    rules:\n- {path: wide/**, clusters: [production], scope: namespace-wide}\n";
const FILE: &str = "db.sealed.yaml";

fn found(desk: &Desk, arguments: &[&str]) -> Vec<String> {
    let answer = desk.seal(&[&["verify"], arguments].concat());
    let lines: Vec<_> = answer.stdout.lines().map(str::to_owned).collect();
    let codes: &[i32] = if lines.is_empty() { &[0] } else { &[1, 6] };
    assert!(codes.contains(&answer.code), "{answer:?}");
    lines
}

/// The only finding, without its place.
fn one(desk: &Desk, arguments: &[&str]) -> String {
    let mut found = found(desk, arguments);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn seal(desk: &Desk, file: &str, arguments: &[&str], secret: &str) {
    let _ = std::fs::remove_file(desk.path(file));
    let arguments = [&["--accept-recipients", "-w", file], arguments].concat();
    desk.pipe(&arguments, secret).done();
}

/// A repository whose `main` has one object.
fn repository() -> Desk {
    let desk = Desk::repository(&["production"], CONFIG);
    seal(&desk, FILE, &[], SECRET);
    desk.git(&["checkout", "-q", "-b", "main"]);
    desk.commit("begin");
    desk
}

#[test]
fn a_scope_wider_than_the_path_requires_is_found() {
    let desk = repository();
    std::fs::create_dir(desk.path("wide")).unwrap();
    let cases = [
        (FILE, "strict", None),
        (FILE, "namespace-wide", Some("strict")),
        (FILE, "cluster-wide", Some("strict")),
        ("wide/db.yaml", "strict", None),
        ("wide/db.yaml", "namespace-wide", None),
        ("wide/db.yaml", "cluster-wide", Some("namespace-wide")),
    ];
    for (file, scope, wanted) in cases {
        seal(&desk, file, &["--scope", scope], SECRET);
        let Some(wanted) = wanted else {
            assert_eq!(found(&desk, &[file]), [""; 0], "{file} {scope}");
            continue;
        };
        let line = one(&desk, &[file]);
        let what = format!("OtherScope: its scope is {scope}, but its path requires {wanted}");
        assert!(line.contains(&what), "{line}");
    }
    // Without a config nobody requires anything.
    let bare = Desk::new();
    let wide = ["-R", "key.pub", "--scope", "cluster-wide", "-w", FILE];
    bare.pipe(&wide, SECRET).done();
    assert_eq!(found(&bare, &[]), [""; 0]);
}

#[test]
fn the_hook_stops_a_wider_scope_once() {
    let desk = repository();
    seal(&desk, FILE, &["--scope", "cluster-wide"], SECRET);
    desk.git(&["add", "-A"]);
    assert!(one(&desk, &["--staged"]).contains("OtherScope"));
    desk.commit("wider, on purpose");
    seal(&desk, FILE, &["--scope", "cluster-wide"], SECRET);
    desk.git(&["add", "-A"]);
    assert_eq!(found(&desk, &["--staged"]), [""; 0]);
}

#[test]
fn a_scope_other_than_before_is_found_in_a_request() {
    let desk = repository();
    let base = ["--base", "main"];
    seal(&desk, FILE, &["--scope", "namespace-wide"], SECRET);
    let lines = found(&desk, &base);
    let what = "shop/db: NewScope: its scope was strict and is namespace-wide now";
    assert!(lines.iter().any(|line| line.contains(what)), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.contains("OtherScope")),
        "{lines:?}"
    );
    // In a file of another name too, and where the request's own config wants it so.
    std::fs::create_dir(desk.path("wide")).unwrap();
    std::fs::rename(desk.path(FILE), desk.path("wide/x.yaml")).unwrap();
    assert!(one(&desk, &base).contains(what));
    std::fs::rename(desk.path("wide/x.yaml"), desk.path(FILE)).unwrap();
    desk.write(
        ".sealkit.yaml",
        &format!("{CONFIG}defaults: {{scope: cluster-wide}}\n"),
    );
    let lines = found(&desk, &base);
    let next = "NewScope: new objects at this path will have scope cluster-wide, not strict";
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(next)), "{lines:?}");
}

#[test]
fn another_namespace_or_name_in_the_same_file_is_found() {
    let desk = repository();
    let base = ["--base", "main"];
    let web = secret("web", &[("K", "v")]);
    for other in [web.clone(), SECRET.replace("shop", "evil")] {
        seal(&desk, FILE, &[], &other);
        let line = one(&desk, &base);
        let what = "Renamed: namespace or name is new in this file, which had shop/db before";
        assert!(line.contains(what), "{line}");
    }
    // One more object, or one in a new file, is no other name.
    desk.git(&["checkout", "-q", FILE]);
    desk.write(FILE, &(desk.read(FILE) + "---\n" + &sealed(&desk, &web)));
    seal(&desk, "web.yaml", &[], &web);
    assert_eq!(found(&desk, &base), [""; 0]);
    desk.git(&["mv", FILE, "moved.yaml"]);
    assert_eq!(found(&desk, &base), [""; 0]);
}

fn sealed(desk: &Desk, secret: &str) -> String {
    let seal = ["--accept-recipients", "--cluster", "production"];
    desk.pipe(&seal, secret).done().stdout
}
