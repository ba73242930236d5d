use std::path::{Path, PathBuf};

use crate::support::Desk;

#[test]
fn every_shell_gets_completions() {
    let desk = Desk::new();
    for (shell, word) in [
        ("bash", "_seal()"),
        ("zsh", "#compdef seal"),
        ("fish", "complete -c seal"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let answer = desk.seal(&["completions", shell]).done();
        assert!(answer.stdout.contains(word), "{shell}");
        for verb in ["verify", "init", "completions"] {
            assert!(answer.stdout.contains(verb), "{shell} knows {verb}");
        }
    }
    desk.refused(&["completions", "cmd"], "", 2, "invalid value 'cmd'");
}

#[test]
fn bash_takes_its_completions() {
    let desk = Desk::new();
    let script = desk.seal(&["completions", "bash"]).done().stdout;
    let run = std::process::Command::new("bash")
        .args(["-c", &format!("{script}\nCOMP_WORDS=(seal ver); COMP_CWORD=1; _seal seal ver seal; echo \"${{COMPREPLY[@]}}\"")])
        .output()
        .unwrap();
    let reply = String::from_utf8_lossy(&run.stdout);
    assert!(
        reply.contains("verify") && reply.contains("version"),
        "{run:?}"
    );
}

#[test]
fn man_pages_name_every_verb() {
    let desk = Desk::new();
    let page = desk.seal(&["man"]).done().stdout;
    assert!(
        page.starts_with(".ie") || page.contains(".TH seal 1"),
        "{page}"
    );
    desk.seal(&["man", "-w", "man"]).done();
    for verb in [
        "seal",
        "seal-verify",
        "seal-keys-generate",
        "seal-init",
        "seal-open",
    ] {
        assert!(
            desk.read(&format!("man/{verb}.1")).contains(".TH"),
            "{verb}"
        );
    }
    desk.write("file", "");
    desk.refused(&["man", "-w", "file"], "", 3, "cannot be written");
}

/// kubectl runs `kubectl-seal` for `kubectl seal`.
#[test]
fn it_works_as_a_plugin_of_kubectl() {
    let desk = Desk::new();
    let folder = desk.path("bin");
    std::fs::create_dir_all(&folder).unwrap();
    let plugin = folder.join("kubectl-seal");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_seal"), &plugin).unwrap();
    let run = std::process::Command::new(plugin)
        .arg("version")
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&run.stdout).starts_with("seal "),
        "{run:?}"
    );
}

/// The files below a folder with one of these endings.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, endings, found);
        } else if endings
            .iter()
            .any(|ending| path.extension().is_some_and(|it| it == *ending))
        {
            found.push(path);
        }
    }
}

/// In a cluster that has Sealed Secrets too, `kubectl get sealedsecrets` asks for theirs.
#[test]
fn kubectl_is_told_whose_sealed_secrets_are_meant() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = vec![root.join("README.md")];
    for folder in [
        "docs",
        "examples",
        "deploy",
        "cli/src",
        "controller/src",
        "core/src",
    ] {
        files(&root.join(folder), &["md", "yaml", "rs"], &mut found);
    }
    let mut commands = 0;
    for file in found {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| line.contains("kubectl")) {
            let words: Vec<&str> = line
                .split(|it: char| !it.is_ascii_alphanumeric() && !".-".contains(it))
                .collect();
            let verbs = [
                "get", "describe", "wait", "delete", "annotate", "patch", "edit", "explain",
            ];
            if !words.iter().any(|word| verbs.contains(word)) {
                continue;
            }
            commands += 1;
            let bare = ["sealedsecret", "sealedsecrets", "SealedSecret"];
            let is_bare = words.iter().any(|word| bare.contains(word));
            // The value of an annotation names the kind as such.
            assert!(
                !is_bare || line.contains("sealkit.dev/allow="),
                "{}: {line}",
                file.display()
            );
        }
    }
    assert!(commands > 10, "{commands}");
}
