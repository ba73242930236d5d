use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Desk, SECRET};

#[test]
fn generated_keys_are_private_and_never_overwritten() {
    let desk = Desk::new();
    for (flags, head, secret) in [
        (&[][..], "age1pq1", "AGE-SECRET-KEY-PQ-1"),
        (&["--classic"], "age1", "AGE-SECRET-KEY-1"),
    ] {
        let name = format!("k{}", flags.len());
        let answer = desk
            .seal(&[&["keys", "generate", "-w", &name], flags].concat())
            .done();
        assert!(answer.stdout.starts_with(head) && answer.stdout.lines().count() == 1);
        assert_eq!(answer.stderr, format!("wrote {name}\n"));
        let text = desk.read(&name);
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].starts_with("# created: 20") && lines[0].ends_with('Z'));
        assert_eq!(lines[1], format!("# public key: {}", answer.stdout.trim()));
        assert!(lines[2].starts_with(secret));
        let mode = desk.path(&name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        desk.refused(
            &["keys", "generate", "-w", &name],
            "",
            3,
            "exists and is never overwritten",
        );
    }
    desk.refused(
        &["keys", "generate", "-w", "no/such"],
        "",
        3,
        "the folder to write into does not exist",
    );
    desk.git_init();
    desk.refused(
        &["keys", "generate", "-w", "new"],
        "",
        3,
        "a private key does not belong in a Git work tree, new",
    );
    desk.write(".gitignore", "/new\n");
    desk.seal(&["keys", "generate", "-w", "new"]).done();
}

#[test]
fn without_a_file_the_private_key_is_the_output() {
    let desk = Desk::new();
    let answer = desk.seal(&["keys", "generate", "--classic"]).done();
    assert!(answer.stdout.contains("AGE-SECRET-KEY-1"));
    let public = answer
        .stderr
        .trim()
        .strip_prefix("seal: note: public key: ")
        .unwrap()
        .to_owned();
    desk.write("k", &answer.stdout);
    desk.pipe(&["-r", &public, "-w", "db.yaml"], SECRET).done();
    assert_eq!(desk.values("k", "db.yaml")["password"], "hunter2");
}

#[test]
fn key_files_of_other_programs_are_read_or_named() {
    let desk = Desk::new();
    for file in ["key", "key.pub"] {
        desk.write(
            &format!("bom-{file}"),
            &format!("\u{feff}{}", desk.read(file)),
        );
    }
    desk.pipe(&["-R", "bom-key.pub", "-w", "db.yaml"], SECRET)
        .done();
    desk.seal(&["open", "-i", "bom-key", "db.yaml"]).done();
    desk.write("ssh.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@desk\n");
    desk.refused(&["-R", "ssh.pub"], SECRET, 3, "this is an SSH key");
    let text = desk.read("key.pub");
    let wide: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(text.bytes().flat_map(|byte| [byte, 0]))
        .collect();
    std::fs::write(desk.path("wide.pub"), wide).unwrap();
    desk.refused(&["-R", "wide.pub"], SECRET, 3, "the file is in UTF-16");
}
