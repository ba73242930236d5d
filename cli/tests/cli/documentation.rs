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
