//! Rules that name branches: every verb takes the same branch, and a merge that carries a file over is
//! seen.

use crate::support::{Answer, Desk, SECRET};

const CONFIG: &str = "version: 1\nclusters:\n  staging: {recipients: [.sealkit/staging.pub]}\n  \
    production: {recipients: [.sealkit/production.pub]}\nrecovery: [.sealkit/recovery.pub]\nrules:\n\
    - {path: secrets/**, branches: [staging, 'env/*'], clusters: [staging], namespace: of-staging}\n\
    - {path: secrets/**, branches: [production], clusters: [production], namespace: of-production}\n";
const FILE: &str = "secrets/db.sealed.yaml";
const RECOVERY: &str = "../home/recovery";

/// A repository on branch `staging` whose file is sealed to staging.
fn repository() -> Desk {
    let desk = Desk::repository(&["staging", "production", "recovery"], CONFIG);
    desk.git(&["checkout", "-q", "-b", "staging"]);
    desk.pipe(&["-w", "secrets/"], SECRET).done();
    desk.commit("begin");
    desk
}

/// The clusters that each envelope of the file names, the recovery key left out.
fn clusters(desk: &Desk) -> Vec<&'static str> {
    let known = ["staging", "production"].map(|name| {
        let print = desk.fingerprint(&format!(".sealkit/{name}.pub"));
        (name, print)
    });
    let mut names: Vec<&str> = Vec::new();
    for hints in desk.hints(FILE) {
        let here = known.iter().filter(|(_, print)| hints.contains(print));
        names.extend(here.map(|(name, _)| *name));
    }
    names.sort_unstable();
    names
}

fn reseal(desk: &Desk, arguments: &[&str]) {
    let reseal = ["reseal", "-q", "-i", RECOVERY, "--accept-recipients"];
    desk.seal(&[&reseal, arguments].concat()).done();
}

/// On branch `production`, which has its own value, sealed to production.
fn on_production(desk: &Desk) {
    desk.git(&["checkout", "-q", "-b", "production"]);
    std::fs::remove_file(desk.path(FILE)).unwrap();
    desk.pipe(&["-w", "secrets/", "--accept-recipients"], SECRET)
        .done();
    desk.commit("production's own");
}

fn verify(desk: &Desk, arguments: &[&str]) -> Answer {
    desk.seal(&[&["verify"], arguments].concat())
}

#[test]
fn every_verb_seals_as_the_branch_says() {
    let desk = repository();
    assert_eq!(clusters(&desk), ["staging"]);
    desk.git(&["checkout", "-q", "-b", "env/eu"]);
    let set = ["set", FILE, "K", "--accept-recipients"];
    desk.pipe(&set, "v").done();
    assert_eq!(clusters(&desk), ["staging"; 2], "by a glob");

    desk.git(&["checkout", "-q", "-b", "production"]);
    desk.pipe(&set, "v").done();
    assert_eq!(clusters(&desk), ["production", "staging"], "set");
    let check = desk.seal(&["reseal", "--check"]);
    assert!(check.code == 1 && check.stdout.contains(FILE), "{check:?}");
    reseal(&desk, &[]);
    assert_eq!(clusters(&desk), ["production"; 2], "reseal");
    desk.seal(&["reseal", "--check"]).done();
    reseal(&desk, &["--branch", "refs/heads/staging"]);
    assert_eq!(clusters(&desk), ["staging"; 2], "reseal --branch");
    let next = ["-w", "secrets/", "--accept-recipients", "-v"];
    let nameless = SECRET.replace(", namespace: shop", "");
    let sealed = desk.pipe(&next, nameless.replace("db", "web")).done();
    assert!(
        sealed
            .stderr
            .contains("the rule for secrets/** applies to branch production"),
        "{sealed:?}"
    );
    let text = desk.read("secrets/web.sealed.yaml");
    assert!(text.contains("of-production"), "{text}");
    assert!(text.contains(&desk.fingerprint(".sealkit/production.pub")));
}

#[test]
fn the_branch_is_that_of_the_flag_or_of_the_build_or_of_head() {
    let mut desk = repository();
    let other = |answer: &Answer| answer.code == 1 && answer.stdout.contains("OtherRecipients");
    verify(&desk, &[]).done();
    let answer = verify(&desk, &["--branch", "production"]);
    assert!(other(&answer), "{answer:?}");
    let work = desk.work().to_string_lossy().into_owned();
    // Variables, and whether HEAD is on another branch, which may be a mistake.
    let builds: [(&[(&str, &str)], bool); 4] = [
        (&[("GITHUB_BASE_REF", "production")], false),
        (&[("CI_COMMIT_BRANCH", "production")], true),
        (&[("BUILD_SOURCEBRANCH", "refs/heads/production")], true),
        (&[("BRANCH_NAME", "production"), ("WORKSPACE", &work)], true),
    ];
    for (variables, warns) in builds {
        for (name, value) in variables {
            desk.set(name, value);
        }
        let answer = verify(&desk, &[]);
        assert!(other(&answer), "{variables:?}: {answer:?}");
        let is_warned = answer.stderr.contains("but HEAD is on staging");
        assert_eq!(is_warned, warns, "{variables:?}: {answer:?}");
        verify(&desk, &["--branch", "staging"]).done();
        for (name, _) in variables {
            desk.set(name, "");
        }
    }
    // The build of another repository says nothing of this one.
    desk.set("GITHUB_REF_NAME", "production");
    desk.set("GITHUB_WORKSPACE", "/elsewhere");
    verify(&desk, &[]).done();
    assert_eq!(desk.seal(&["reseal", "--check"]).code, 0);
}

#[test]
fn a_detached_head_is_an_error_where_a_rule_names_branches() {
    let mut desk = repository();
    desk.git(&["checkout", "-q", "--detach"]);
    let hint = "--branch NAME";
    for arguments in [
        &["verify"][..],
        &["reseal", "--check"],
        &["set", FILE, "password"],
        &["-w", "secrets/"],
    ] {
        let input = if arguments[0] == "-w" { SECRET } else { "v" };
        let answer = desk.refused(arguments, input, 3, "names branches, but HEAD is on none");
        assert!(answer.stderr.contains(hint), "{answer:?}");
    }
    verify(&desk, &["--branch", "staging"]).done();
    desk.set("CI_COMMIT_BRANCH", "staging");
    verify(&desk, &[]).done();
    desk.set("CI_COMMIT_BRANCH", "");
    // Verbs and paths that no such rule is for.
    desk.seal(&["lint"]).done();
    let config =
        CONFIG.replace("path: secrets/", "path: other/") + "- {path: '*', clusters: [staging]}\n";
    desk.write(".sealkit.yaml", &config);
    verify(&desk, &[]).done();
    desk.write(".sealkit.yaml", CONFIG);

    // While Git rebases a branch, HEAD is on none, but the branch is known.
    desk.git(&["checkout", "-q", "staging"]);
    desk.git(&["commit", "-q", "--allow-empty", "-m", "next"]);
    let rebase = desk.try_git(&["rebase", "-q", "--exec", "false", "HEAD~1"]);
    assert!(!rebase.status.success());
    assert!(desk.git(&["branch", "--show-current"]).is_empty());
    verify(&desk, &[]).done();
}

#[test]
fn a_path_without_a_rule_for_the_branch_is_not_sealed_by_chance() {
    let desk = repository();
    desk.git(&["checkout", "-q", "-b", "topic"]);
    let set = ["set", FILE, "password"];
    let answer = desk.refused(&set, "v", 3, "covers this path on branch topic");
    assert!(
        answer
            .stderr
            .contains("--branch NAME, staging, env/*, production"),
        "{answer:?}"
    );
    // Nobody should take that for checked.
    let answer = verify(&desk, &[]).done();
    assert!(
        answer
            .stderr
            .contains("1 SealedSecrets have rules for other branches alone"),
        "{answer:?}"
    );
    let answer = verify(&desk, &["--branch", "staging"]).done();
    assert!(answer.stderr.is_empty(), "{answer:?}");
}

#[test]
fn a_file_that_a_merge_carried_over_is_found_with_what_to_do() {
    let desk = repository();
    on_production(&desk);
    verify(&desk, &[]).done();
    desk.git(&["checkout", "-q", "staging"]);
    desk.pipe(&["set", FILE, "password", "--accept-recipients"], "next")
        .done();
    desk.commit("staging's next");
    desk.git(&["checkout", "-q", "production"]);
    desk.git(&["branch", "before"]);
    desk.git(&["merge", "-q", "--no-commit", "-s", "ours", "staging"]);
    desk.git(&["checkout", "-q", "staging", "--", FILE]);
    let said = |answer: &Answer, back: &str| {
        assert_eq!(answer.code, 1, "{answer:?}");
        assert_eq!(answer.stdout.lines().count(), 1, "{answer:?}");
        for part in [
            "that is for branch staging, env/*, so a merge may have carried the file over",
            &format!("`git checkout {back} -- {FILE}`"),
            &format!("`seal reseal {FILE}`"),
        ] {
            assert!(answer.stdout.contains(part), "{part}: {answer:?}");
        }
    };
    // The hook sees it although staging has the envelope.
    let staged = verify(&desk, &["--staged"]);
    said(&staged, "HEAD");
    assert!(staged.stdout.contains("OtherRecipients"));
    desk.git(&["commit", "-q", "-m", "merge"]);
    said(&verify(&desk, &[]), "COMMIT");
    said(&verify(&desk, &["-i", RECOVERY]), "COMMIT");
    let base = ["--base", "before", "--branch", "production"];
    let request = verify(&desk, &base);
    said(&request, "before");
    assert!(request.stdout.contains("NewRecipient"), "{request:?}");

    desk.git(&["checkout", "before", "--", FILE]);
    verify(&desk, &base).done();
    verify(&desk, &[]).done();
}

/// Both branches seal one envelope anew, each to its own cluster.
#[test]
fn the_merge_driver_keeps_what_is_for_the_branch() {
    let desk = Desk::repository(&["staging", "production", "recovery"], CONFIG);
    desk.git(&["checkout", "-q", "-b", "production"]);
    desk.seal(&["git", "install", "--no-hook"]).done();
    let both = [
        "-w",
        "secrets/",
        "--cluster",
        "staging",
        "--cluster",
        "production",
    ];
    desk.pipe(&both, SECRET).done();
    desk.commit("begin");
    desk.git(&["checkout", "-q", "-b", "staging"]);
    reseal(&desk, &[]);
    desk.commit("for staging");
    desk.git(&["checkout", "-q", "production"]);
    reseal(&desk, &[]);
    desk.commit("for production");
    // A rebase detaches HEAD.
    desk.git(&["checkout", "-q", "-b", "env/eu", "staging"]);
    desk.git(&["rebase", "-q", "production"]);
    assert_eq!(clusters(&desk), ["staging"]);
    desk.git(&["checkout", "-q", "production"]);
    desk.git(&["merge", "-q", "staging"]);
    assert_eq!(clusters(&desk), ["production"]);
}

#[test]
fn a_list_of_branches_that_means_nothing_is_refused() {
    let desk = repository();
    for (branches, what) in [
        ("[]", "has an empty list of branches"),
        ("['a[']", "names branch a[, which is not a glob"),
        ("['!a']", "names branch !a, which is not a glob"),
    ] {
        desk.write(
            ".sealkit.yaml",
            &CONFIG.replace("[production], clusters", &format!("{branches}, clusters")),
        );
        desk.refused(&["verify"], "", 3, what);
    }
}

/// Whatever the branch of the request: the config reaches other branches too.
#[test]
fn a_request_that_gives_a_branch_more_is_found() {
    let desk = repository();
    let config = CONFIG.replace(
        "[production], clusters: [production]",
        "[production], clusters: [production, staging]",
    );
    desk.write(".sealkit.yaml", &config);
    let answer = verify(&desk, &["--base", "staging"]);
    assert!(
        answer.code == 6
            && answer.stdout.contains(
                "NewRecipient: new values at secrets/** on production may be sealed to staging"
            ),
        "{answer:?}"
    );
}

/// Whoever makes a request chooses the name of its branch.
#[test]
fn a_request_is_compared_as_the_branch_wants_that_it_is_for() {
    let desk = repository();
    on_production(&desk);
    let stranger = desk.seal(&["keys", "generate", "--classic", "-w", "../home/stranger"]);
    let stranger = stranger.done().stdout;
    for topic in ["fix-db", "staging-fix", "env/x"] {
        desk.git(&["checkout", "-q", "-b", topic, "production"]);
        std::fs::remove_file(desk.path(FILE)).unwrap();
        desk.pipe(&["-w", FILE, "-r", stranger.trim()], SECRET)
            .done();
        let answer = verify(&desk, &["--base", "production"]);
        assert!(answer.code == 1, "{topic}: {answer:?}");
        assert!(
            answer.stdout.contains("NewRecipient"),
            "{topic}: {answer:?}"
        );
        desk.git(&["checkout", "-q", "-f", "production"]);
    }
    // A commit is of no branch.
    let commit = desk.git(&["rev-parse", "HEAD"]);
    let answer = verify(&desk, &["--base", commit.trim()]);
    assert!(
        answer.code == 3 && answer.stderr.contains("--branch"),
        "{answer:?}"
    );
    let base = ["--base", commit.trim(), "--branch", "production"];
    verify(&desk, &base).done();
}

#[test]
fn a_request_that_leaves_a_path_without_a_rule_is_found() {
    let desk = repository();
    on_production(&desk);
    let config = CONFIG.replace("branches: [production]", "branches: [prodution]");
    desk.write(".sealkit.yaml", &config);
    let answer = verify(&desk, &["--base", "production"]);
    assert_eq!(answer.code, 6, "{answer:?}");
    let lost =
        "LostRule: no rule says any more to whom values at secrets/** on production are sealed";
    assert!(answer.stdout.contains(lost), "{answer:?}");
}

#[test]
fn a_request_brings_no_plain_value_in_a_template_of_a_chart() {
    let desk = repository();
    on_production(&desk);
    let template = "{{- if .Values.x }}\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\n\
        stringData: {password: hunter2-of-the-chart}\n{{- end }}\n";
    desk.write("chart/templates/s.yaml", template);
    let base = ["--base", "production"];
    let answer = verify(&desk, &base);
    assert!(
        answer.code == 1 && answer.stdout.contains("PlaintextSecret"),
        "{answer:?}"
    );
    assert!(!answer.stdout.contains("hunter2"), "{answer:?}");
    desk.commit("a chart");
    verify(&desk, &base).done();
}
