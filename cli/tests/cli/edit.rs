use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{Desk, SECRET, secret};

const FILE: &str = "db.yaml";
const EDIT: [&str; 6] = ["edit", FILE, "-i", "key", "-R", "key.pub"];

/// A desk whose editor is a shell script on `$1`.
fn desk(script: &str) -> Desk {
    let mut desk = Desk::new();
    let values = [("A", "one"), ("B", "two\nlines\n"), ("C", "three")];
    desk.pipe(&["-R", "key.pub", "-w", FILE], secret("db", &values))
        .done();
    desk.write("editor.sh", &format!("set -e\n{script}\n"));
    let editor = format!("sh {}", desk.path("editor.sh").display());
    desk.set("EDITOR", &editor);
    desk
}

fn line(text: &str, key: &str) -> String {
    let mut lines = text.lines();
    lines
        .find(|line| line.contains(&format!("{key}: sk1.")))
        .unwrap()
        .to_owned()
}

#[test]
fn only_what_was_changed_is_sealed_anew() {
    let desk = desk(
        "grep -q 'Change, add or remove' \"$1\"; cp \"$1\" seen; stat -c %a \"$(dirname \"$1\")\" > mode\n\
        sed -i 's/one/first/; /C: three/d; s/^stringData:/&\\n  D: four/' \"$1\"",
    );
    let before = desk.read(FILE);
    let answer = desk.seal(&EDIT).done();
    assert_eq!(
        answer.stderr,
        "seal: note: the editor sh may keep copies of the values elsewhere, such as backups and \
         histories: `seal` knows how to prevent that in vim, nvim, emacs and nano\n\
         seal: note: sealed for shop/db with scope strict\n\
         seal: note: shop/db had no value for D before\nsealed db.yaml\n"
    );
    assert_eq!(desk.read("mode"), "700\n");
    assert!(
        desk.read("seen").contains("  B: |\n    two\n    lines\n"),
        "{}",
        desk.read("seen")
    );
    let after = desk.read(FILE);
    assert_eq!(
        line(&before, "B"),
        line(&after, "B"),
        "keeps its ciphertext"
    );
    let values = json!({"A": "first", "B": "two\nlines\n", "D": "four"});
    assert_eq!(desk.values("key", FILE), values);
}

#[test]
fn a_widened_object_is_edited_only_if_the_flag_says_its_scope() {
    let desk = desk("sed -i 's/hunter2/better/' \"$1\"");
    let wide = ["--scope", "cluster-wide"];
    let seal = [&["-q", "-R", "key.pub", "-w", "wide.yaml"][..], &wide].concat();
    desk.pipe(&seal, SECRET).done();
    let edit = ["edit", "wide.yaml", "-i", "key", "-R", "key.pub"];
    desk.refused(&edit, "", 3, "its path has scope strict");
    desk.seal(&[&edit[..], &wide].concat()).done();
    assert_eq!(
        desk.values("key", "wide.yaml"),
        json!({"password": "better"})
    );
}

#[test]
fn an_edit_that_changes_nothing_writes_nothing() {
    let desk = desk("true");
    let before = desk.read(FILE);
    let answer = desk.seal(&EDIT).done();
    assert!(answer.stderr.contains("nothing was changed"));
    assert_eq!(desk.read(FILE), before);
}

/// An object whose template reads `R`, which was sealed with --render as all others.
fn rendered(script: &str) -> Desk {
    let desk = desk(script);
    let manifest = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\n\
        data: {BIN: AP8=}\nstringData: {R: public, P: private}\n";
    std::fs::remove_file(desk.path(FILE)).unwrap();
    desk.write("t.yaml", "data: {out: 'r={{ .R }}'}\n");
    let seal = ["-R", "key.pub", "--render", "-w", FILE];
    desk.pipe(&[&seal[..], &["--template", "t.yaml"]].concat(), manifest)
        .done();
    desk
}

#[test]
fn bytes_are_edited_in_base64() {
    let desk = rendered("sed -i 's/AP8=/AP4=/' \"$1\"");
    desk.seal(&EDIT).done();
    let opened = desk
        .seal(&["open", "-i", "key", FILE, "--key", "BIN"])
        .done();
    assert_eq!(opened.raw, [0, 0xfe]);
}

/// Whoever sealed the old value may have let templates read it only to learn the next one.
#[test]
fn templates_read_a_new_value_only_if_the_flag_says_so_whatever_they_read_before() {
    let desk = rendered("sed -i 's/public/PUBLIC/' \"$1\"");
    let answer = desk.seal(&EDIT).done();
    let lost = "warning: templates could read the old values of R, but cannot read the new ones";
    assert!(answer.stderr.contains(lost), "{answer:?}");
    let open = ["open", "-i", "key", FILE];
    let opened = desk.seal(&open);
    assert_eq!(opened.code, 4, "R does not exist for the template");
    assert!(!opened.stdout.contains("PUBLIC"), "{opened:?}");
    // What was not changed keeps its envelope, and what that permits.
    let desk = rendered("sed -i 's/private/PRIVATE/' \"$1\"");
    let answer = desk.seal(&EDIT).done();
    assert!(answer.stderr.contains("the old values of P"), "{answer:?}");
    assert_eq!(desk.values("key", FILE)["out"], "r=public");
    let desk = rendered("sed -i 's/public/PUBLIC/' \"$1\"");
    let answer = desk.seal(&[&EDIT[..], &["--render"]].concat()).done();
    let told = "note: templates in the cluster may read the values of R: anyone";
    assert!(answer.stderr.contains(told), "{answer:?}");
    assert_eq!(desk.values("key", FILE)["out"], "r=PUBLIC");
}

#[test]
fn a_broken_edit_changes_nothing_and_leaves_nothing() {
    for script in [
        "echo 'kind: [' > \"$1\"",
        "printf 'apiVersion: v1\\nkind: Secret\\nmetadata: {name: db}\\nstringData: {a: 1}\\n' > \"$1\"",
        "rm \"$1\"",
        "sed -i 's/one/changed/' \"$1\"; exit 3",
        "printf -- '---\\n' >> \"$1\"; cat \"$1\" >> \"$1.2\"; cat \"$1.2\" >> \"$1\"",
    ] {
        let desk = desk(script);
        let answer = desk.refused(&EDIT, "", 3, "");
        assert!(
            answer.stderr.contains("nothing was changed"),
            "{script}: {answer:?}"
        );
        assert!(!answer.stderr.contains("three"), "{answer:?}");
    }
    let desk = desk("true");
    let no_key = ["edit", FILE, "-R", "key.pub"];
    desk.refused(&no_key, "", 2, "nothing to open the values with");
    desk.seal(&["keys", "generate", "--classic", "-w", "other"])
        .done();
    let wrong = ["edit", FILE, "-R", "key.pub", "-i", "other"];
    desk.refused(&wrong, "", 4, "NoMatchingKey");
}

/// The name of an object is no place to write to.
#[test]
fn a_hostile_name_leads_nowhere() {
    let desk = desk("true");
    let wide = [
        "-R",
        "key.pub",
        "--scope",
        "cluster-wide",
        "-w",
        "wide.yaml",
    ];
    desk.pipe(&wide, secret("db", &[("A", "hunter2")])).done();
    let text = desk.read("wide.yaml");
    let target = desk.path("leak");
    for name in ["../../leak", target.to_str().unwrap()] {
        desk.write(
            "wide.yaml",
            &text.replace("name: db", &format!("name: {name}")),
        );
        for verb in ["edit", "set"] {
            let arguments = [verb, "wide.yaml", "-i", "key", "-R", "key.pub", "A"];
            let count = if verb == "edit" { 6 } else { 7 };
            desk.refused(&arguments[..count], "x", 3, "an invalid name or namespace");
        }
    }
}

/// Hours may pass in an editor.
#[test]
fn what_changes_meanwhile_stays() {
    let desk = desk(
        "sed -i 's/one/first/' \"$1\"; sed -i 's/^spec:/# meanwhile\\nspec:/' db.yaml; \
        sed -i '/^    B: /d' db.yaml",
    );
    desk.seal(&EDIT).done();
    assert!(desk.read(FILE).contains("# meanwhile"));
    assert_eq!(
        desk.values("key", FILE),
        json!({"A": "first", "C": "three"})
    );
}

/// `seal edit` with its editor open, and the private folder.
fn open_editor(desk: &Desk) -> (Child, PathBuf) {
    let child = Command::new(env!("CARGO_BIN_EXE_seal"))
        .args(EDIT)
        .current_dir(desk.work())
        .env("EDITOR", format!("sh {}", desk.path("editor.sh").display()))
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for("the editor starts", || {
        desk.exists("folder") && desk.read("folder").ends_with('\n')
    });
    let folder = PathBuf::from(desk.read("folder").trim());
    assert!(folder.join("values.yaml").exists());
    (child, folder)
}

fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "not so: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn kill(signal: &str, process: &str) {
    let status = Command::new("kill").args(["-s", signal, process]).status();
    assert!(status.unwrap().success(), "{signal}");
}

const SLOW: &str = "cp \"$1\" \"$1.swp\"; dirname \"$1\" > folder; sleep 60";

/// Ended while the editor is open: no plaintext stays.
#[test]
fn a_signal_ends_the_editor_and_the_private_folder_goes() {
    let caught = [
        "HUP", "TRAP", "ABRT", "BUS", "USR1", "USR2", "ALRM", "TERM", "STKFLT", "XCPU", "XFSZ",
        "VTALRM", "PROF", "IO", "PWR", "SYS", "34", "64",
    ];
    // Nobody can catch these: then the guard of the folder is left.
    let fatal = ["ILL", "FPE", "KILL"];
    std::thread::scope(|scope| {
        for signals in [&caught[..9], &caught[9..], &fatal] {
            scope.spawn(move || {
                for signal in signals {
                    let desk = desk(SLOW);
                    let (mut child, folder) = open_editor(&desk);
                    kill(signal, &child.id().to_string());
                    let status = child.wait().unwrap();
                    if fatal.contains(signal) {
                        wait_for(signal, || !folder.exists());
                    } else {
                        assert_eq!(status.code(), Some(3), "{signal}");
                        assert!(!folder.exists(), "{signal}");
                    }
                }
            });
        }
    });
}

#[test]
fn an_interrupt_is_the_editors_business() {
    let desk = desk(SLOW);
    let (mut child, folder) = open_editor(&desk);
    for signal in ["INT", "QUIT", "WINCH", "CHLD", "CONT"] {
        kill(signal, &child.id().to_string());
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none() && folder.exists());
    kill("TERM", &child.id().to_string());
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(!folder.exists());
}

/// The guard is no single point of failure either, and it removes nothing but private folders.
#[test]
fn the_private_folder_goes_without_its_guard_too() {
    let desk = desk(
        "dirname \"$1\" > folder; for process in /proc/[0-9]*; do \
        [ \"$(readlink $process/cwd)\" != \"$(dirname \"$1\")\" ] || kill -KILL ${process#/proc/}; done",
    );
    desk.seal(&EDIT).done();
    assert!(!Path::new(desk.read("folder").trim()).exists());
    desk.write("precious/file", "");
    desk.write("seal-edit-open/file", "");
    for folder in ["precious", "seal-edit-open"] {
        let guard = ["edit", "--guard", folder];
        desk.refused(&guard, "", 2, "not a private folder");
    }
}

/// The guard of a running `seal edit`, which no longer runs until it is told to. Its arguments show
/// everybody nothing of the folder.
fn stopped_guard(child: &Child, folder: &Path) -> String {
    let parent = child.id().to_string();
    let found = Command::new("pgrep")
        .args(["-a", "-P", &parent, "-f", "--", "--guard"])
        .output();
    let found = String::from_utf8(found.unwrap().stdout).unwrap();
    let name = folder.file_name().unwrap().to_str().unwrap();
    assert!(!found.contains(name), "{found}");
    let guard = found.split(' ').next().unwrap().to_owned();
    kill("STOP", &guard);
    guard
}

/// Everybody may give the name to something else as soon as it is free.
#[test]
fn the_guard_touches_nothing_that_takes_the_name_of_the_folder() {
    let desk = desk(
        "dirname \"$1\" > folder; for _ in $(seq 999); do [ ! -e go ] || exit 0; sleep 0.02; done",
    );
    desk.write("precious/file", "precious");
    let (mut child, folder) = open_editor(&desk);
    let guard = stopped_guard(&child, &folder);
    desk.write("go", "");
    wait_for("the folder goes", || !folder.exists());
    symlink(desk.path("precious"), &folder).unwrap();
    kill("CONT", &guard);
    assert!(child.wait().unwrap().success());
    let is_link = folder.is_symlink();
    let _ = std::fs::remove_file(&folder);
    assert!(is_link, "it was removed");
    assert_eq!(desk.read("precious/file"), "precious");
}

/// The folder is what was made, not what bears its name.
#[test]
fn the_guard_removes_the_folder_even_if_its_name_leads_elsewhere() {
    let desk = desk(SLOW);
    desk.write("precious/file", "precious");
    let (mut child, folder) = open_editor(&desk);
    let guard = stopped_guard(&child, &folder);
    let moved = folder.with_extension("moved");
    std::fs::rename(&folder, &moved).unwrap();
    symlink(desk.path("precious"), &folder).unwrap();
    kill("KILL", &child.id().to_string());
    child.wait().unwrap();
    kill("CONT", &guard);
    wait_for("no plaintext is left", || {
        std::fs::read_dir(&moved).unwrap().next().is_none()
    });
    let is_link = folder.is_symlink();
    std::fs::remove_file(&folder).unwrap();
    std::fs::remove_dir(&moved).unwrap();
    assert!(is_link, "it was removed");
    assert_eq!(desk.read("precious/file"), "precious");
}

/// Editors leave folders, links and pipes, and whoever sealed the values may hope for that.
#[test]
fn what_the_editor_leaves_goes_and_links_are_not_followed() {
    let desk = desk(
        "dirname \"$1\" > folder; cd \"$(dirname \"$1\")\"; mkdir -p a/b; cp \"$1\" a/b/copy; \
        ln -s \"$OLDPWD/precious\" a/folder; ln -s \"$OLDPWD/precious/file\" file; mkfifo pipe",
    );
    desk.write("precious/file", "precious");
    desk.seal(&EDIT).done();
    assert!(!Path::new(desk.read("folder").trim()).exists());
    assert_eq!(desk.read("precious/file"), "precious");
}

#[test]
fn neither_seal_nor_the_editor_dumps_its_memory() {
    let desk = desk("ulimit -Sc > soft; ulimit -Hc > hard");
    desk.seal(&EDIT).done();
    for file in ["soft", "hard"] {
        let limit = desk.read(file);
        assert!(["0", "1"].contains(&limit.trim()), "{file}: {limit}");
    }
}

/// Vim keeps what was yanked in ~/.viminfo, and its settings may ask for more copies.
#[test]
fn vim_keeps_no_copy_of_a_value() {
    if Command::new("vim").arg("--version").output().is_err() {
        return;
    }
    let mut desk = desk("");
    let vimrc = "set viminfo='100,<100 | set backup backupdir=~ | set undofile undodir=~ | set directory=~\n";
    desk.write("../home/.vimrc", vimrc);
    desk.set("TERM", "dumb");
    let commands = "-c '/one' -c 'normal! yy' -c 's/one/first/' -c 'wq'";
    for vim in ["vim", "/usr/bin/vim -N", "'vim'"] {
        desk.set("EDITOR", &format!("{vim} {commands}"));
        let answer = desk.seal(&EDIT).done();
        assert!(!answer.stderr.contains("may keep copies"), "{answer:?}");
        let home = std::fs::read_dir(desk.path("../home")).unwrap();
        let home: Vec<_> = home.map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(home, [".vimrc"], "{vim}");
        assert_eq!(desk.values("key", FILE)["A"], "first");
        let seal = ["-q", "-R", "key.pub", "-w", FILE];
        desk.pipe(&seal, secret("db", &[("A", "one")])).done();
    }
}

/// A value is text that somebody else may have written.
#[test]
fn no_value_changes_the_settings_of_vim() {
    if Command::new("vim").arg("--version").output().is_err() {
        return;
    }
    let mut desk = desk("");
    let vimrc = "autocmd!\nset modeline modelines=5\n";
    desk.write("../home/.vimrc", vimrc);
    desk.set("TERM", "dumb");
    let modeline = "# vim: set updatecount=7 shiftwidth=7 :";
    let seal = ["-q", "-R", "key.pub", "-w", "modeline.yaml"];
    desk.pipe(&seal, secret("db", &[("A", modeline)])).done();
    let open = ["edit", "modeline.yaml", "-i", "key", "-R", "key.pub"];
    let show = "-c 'redir! > seen' -c 'silent set updatecount? shiftwidth?' -c 'redir END' -c q";
    // As it is opened, and when it is read again.
    for again in ["", "-c 'edit!'"] {
        desk.set("EDITOR", &format!("vim {again} {show}"));
        desk.seal(&open).done();
        let seen = desk.read("seen");
        let seen: Vec<&str> = seen.split_whitespace().collect();
        assert_eq!(seen, ["updatecount=0", "shiftwidth=8"], "{again}");
    }
}

#[test]
fn a_value_that_changed_under_the_editor_is_not_overwritten() {
    let seal = env!("CARGO_BIN_EXE_seal");
    let other = |key: &str| format!("printf theirs | {seal} -q set {FILE} {key} -R key.pub");
    let edit = "sed -i s/one/mine/ \"$1\"";
    let theirs = desk(&format!("{}\n{edit}", other("A")));
    let answer = theirs.seal(&EDIT);
    let said = "somebody else changed A while the editor was open";
    assert!(
        answer.code == 3 && answer.stderr.contains(said),
        "{answer:?}"
    );
    assert_eq!(theirs.values("key", FILE)["A"], "theirs");
    // Another key stands in nobody's way.
    let both = desk(&format!("{}\n{edit}", other("B")));
    both.seal(&EDIT).done();
    let values = both.values("key", FILE);
    assert_eq!(
        (&values["A"], &values["B"]),
        (&"mine".into(), &"theirs".into())
    );
}

#[test]
fn the_editor_does_not_get_what_is_piped_in() {
    let desk = desk("[ ! -p /dev/stdin ] || echo piped > piped\nsed -i s/one/mine/ \"$1\"");
    desk.pipe(&EDIT, "canary").done();
    assert!(!desk.exists("piped"));
}
