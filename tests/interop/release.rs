//! What `release/` makes, and what its scripts refuse. A release is made once, from the programs of this
//! build: nothing is compiled for it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use sealkit_core::manifest::{read_documents, read_value};
use sealkit_tests::program::program;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::peers::{go, outcome, run, text, tree};

/// Of this tree.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The folder of a release of this tree.
static RELEASE: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("release");
    let _ = fs::remove_dir_all(&folder);
    let programs = tempfile::tempdir().unwrap();
    // Debugging information would be most of it.
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(programs.path().join("seal"));
    run(strip.arg(program("seal")), b"");
    // Nothing runs it here.
    fs::copy("/bin/true", programs.path().join("seal-controller")).unwrap();
    symlink(program("sealkit-rig"), programs.path().join("sealkit-rig")).unwrap();
    let mut build = Command::new(tree("release/build"));
    build.arg("--programs").arg(programs.path());
    run(build.arg("--without-sbom").arg(&folder), b"");
    folder
});

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// The files of the release with their SHA-256, as hexadecimal digits.
fn files() -> BTreeMap<String, String> {
    let entries = fs::read_dir(&*RELEASE).unwrap();
    let digest = |path: PathBuf| {
        let digest = format!("{:x}", Sha256::digest(fs::read(&path).unwrap()));
        (
            path.file_name().unwrap().to_str().unwrap().to_owned(),
            digest,
        )
    };
    entries.map(|entry| digest(entry.unwrap().path())).collect()
}

/// The name of the archive with `seal`.
fn archive() -> String {
    let start = format!("seal-{VERSION}-");
    files()
        .into_keys()
        .find(|name| name.starts_with(&start))
        .unwrap()
}

/// Does it succeed? If not, what it says.
fn refused(command: &mut Command) -> Option<String> {
    let output = outcome(command, b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (!output.status.success()).then_some(said)
}

#[test]
fn checksums_and_provenance_of_a_release_cover_each_file() {
    let mut files = files();
    for part in [
        "seal-controller-image-",
        "sealkit-",
        "install.yaml",
        "crds.yaml",
        "install.sh",
        "krew.yaml",
        "homebrew.rb",
        "notes.md",
    ] {
        assert!(files.keys().any(|name| name.starts_with(part)), "{part}");
    }
    files.remove("checksums.txt").unwrap();
    let checksums = read(&RELEASE.join("checksums.txt"));
    let checksums = checksums
        .lines()
        .map(|line| line.split_once("  ").unwrap())
        .map(|(digest, name)| (name.to_owned(), digest.to_owned()));
    assert_eq!(checksums.collect::<BTreeMap<_, _>>(), files);
    let workflow = read(&tree(".github/workflows/release.yaml"));
    let check = workflow
        .lines()
        .find_map(|line| line.trim().strip_prefix("run: sha256sum "));
    let mut sha256sum = Command::new("sha256sum");
    sha256sum.current_dir(&*RELEASE);
    run(sha256sum.args(check.unwrap().split(' ')), b"");

    files.remove("provenance.intoto.json").unwrap();
    let statement = read(&RELEASE.join("provenance.intoto.json"));
    let statement: Value = serde_json::from_str(&statement).unwrap();
    assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
    let subjects = statement["subject"].as_array().unwrap().iter().map(|it| {
        let string = |value: &Value| value.as_str().unwrap().to_owned();
        (string(&it["name"]), string(&it["digest"]["sha256"]))
    });
    assert_eq!(subjects.collect::<BTreeMap<_, _>>(), files);
    let materials = &statement["predicate"]["buildDefinition"]["resolvedDependencies"];
    let head = text(
        Command::new("git")
            .current_dir(tree("."))
            .args(["rev-parse", "HEAD"]),
        b"",
    );
    assert_eq!(materials[0]["digest"]["gitCommit"], head.trim());
    assert!(materials.as_array().unwrap().len() > 100);
}

#[test]
fn manifests_and_chart_of_a_release_name_its_image_by_digest() {
    let mut names = files().into_keys();
    let image = names.find(|it| it.starts_with("seal-controller-image-"));
    let index = run(
        Command::new("tar")
            .arg("-xOf")
            .arg(RELEASE.join(image.unwrap()))
            .arg("./index.json"),
        b"",
    );
    let index: Value = serde_json::from_slice(&index).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap();
    let container = |manifests: &[u8]| {
        let objects = read_documents(manifests).unwrap();
        let deployment = objects.iter().find(|it| it.kind() == "Deployment").unwrap();
        let container = &deployment.object["spec"]["template"]["spec"]["containers"][0];
        container["image"].as_str().unwrap().to_owned()
    };
    let published = format!("ghcr.io/sealkit/seal-controller:{VERSION}@{digest}");
    let manifests = fs::read(RELEASE.join("install.yaml")).unwrap();
    assert_eq!(container(&manifests), published);

    let home = tempfile::tempdir().unwrap();
    let mut helm = go("helm", "helm");
    for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        helm.env(variable, home.path());
    }
    let chart = RELEASE.join(format!("sealkit-{VERSION}.tgz"));
    let made = run(helm.args(["template", "sealkit"]).arg(chart), b"");
    assert_eq!(container(&made), published);
    let label = format!("app.kubernetes.io/version: \"{VERSION}\"");
    assert!(String::from_utf8(made).unwrap().contains(&label), "{label}");
}

#[test]
fn package_managers_get_the_archive_and_its_checksum() {
    let archive = archive();
    let digest = &files()[&archive];
    let krew = read_value(&read(&RELEASE.join("krew.yaml"))).unwrap();
    assert_eq!(krew["spec"]["version"], format!("v{VERSION}"));
    let platform = &krew["spec"]["platforms"][0];
    assert_eq!(&platform["sha256"], digest);
    let address = platform["uri"].as_str().unwrap();
    assert!(
        address.ends_with(&format!("/v{VERSION}/{archive}")),
        "{address}"
    );
    let formula = read(&RELEASE.join("homebrew.rb"));
    assert!(formula.contains(&format!("url \"{address}\"")), "{formula}");
    assert!(
        formula.contains(&format!("sha256 \"{digest}\"")),
        "{formula}"
    );
    assert!(!formula.contains('@'), "{formula}");
}

/// A mirror of the release, a cosign that accepts or not, and a home to install to.
struct Mirror {
    folder: TempDir,
    home: TempDir,
}

impl Mirror {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["checksums.txt", "install.sh", &archive()] {
            fs::copy(RELEASE.join(name), folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("checksums.txt.sigstore.json"), "{}").unwrap();
        let mirror = Self {
            folder,
            home: tempfile::tempdir().unwrap(),
        };
        mirror.cosign("exit 0");
        mirror
    }

    /// cosign asks servers of Sigstore; what matters here is that its answer counts.
    fn cosign(&self, body: &str) {
        let program = self.home.path().join("cosign");
        let script = format!("#!/bin/sh\necho \"$@\" > \"$HOME/asked\"\n{body}\n");
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn install(&self) -> Option<String> {
        let home = self.home.path();
        let path = std::env::var("PATH").unwrap();
        let mut install = Command::new("sh");
        install
            .arg(self.path("install.sh"))
            .env("HOME", home)
            .env("PATH", format!("{}:{path}", home.display()))
            .env_remove("PREFIX")
            .env(
                "SEALKIT_BASE_URL",
                format!("file://{}", self.folder.path().display()),
            );
        refused(&mut install)
    }

    fn installed(&self, name: &str) -> PathBuf {
        self.home.path().join(".local/bin").join(name)
    }

    fn assert_refused(&self, because: &str) {
        let said = self.install().expect("a refusal");
        assert!(
            said.contains(because) && said.contains("nothing is installed"),
            "{said}"
        );
        assert!(!self.installed("seal").exists());
    }
}

#[test]
fn the_install_script_installs_what_is_signed_and_has_the_right_checksum() {
    let mirror = Mirror::new();
    assert_eq!(mirror.install(), None);
    for name in ["seal", "kubectl-seal"] {
        let said = text(Command::new(mirror.installed(name)).arg("version"), b"");
        assert_eq!(said, format!("seal {VERSION}\n"));
    }
    let asked = read(&mirror.home.path().join("asked"));
    let identity = format!("/.github/workflows/release.yaml@refs/tags/v{VERSION} ");
    assert!(asked.contains(&identity), "{asked}");
}

#[test]
fn the_install_script_refuses_an_archive_that_was_tampered_with() {
    let mirror = Mirror::new();
    let archive = mirror.path(&archive());
    let mut content = fs::read(&archive).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&archive, content).unwrap();
    mirror.assert_refused("the checksum of seal-");
}

#[test]
fn the_install_script_refuses_what_has_no_checksum() {
    let mirror = Mirror::new();
    let checksums = mirror.path("checksums.txt");
    let archive = archive();
    let lines = read(&checksums);
    let others = lines.lines().filter(|line| !line.ends_with(&archive));
    let others: Vec<&str> = others.collect();
    fs::write(&checksums, others.join("\n")).unwrap();
    mirror.assert_refused("names no seal for");
    fs::remove_file(&checksums).unwrap();
    mirror.assert_refused("cannot fetch");
}

#[test]
fn the_install_script_refuses_a_wrong_or_missing_signature() {
    let mirror = Mirror::new();
    mirror.cosign("exit 1");
    mirror.assert_refused("the signature of checksums.txt is wrong");
    mirror.cosign("exit 0");
    fs::remove_file(mirror.path("checksums.txt.sigstore.json")).unwrap();
    mirror.assert_refused("cannot fetch");
}

/// A copy of this tree as it is, committed to a repository of its own.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let copy = "git ls-files -z --cached --others --exclude-standard |
            xargs -0 cp --parents --no-dereference --target-directory \"$1\"";
        let mut bash = Command::new("bash");
        bash.current_dir(tree("."))
            .args(["-c", copy, "copy"])
            .arg(folder.path());
        run(&mut bash, b"");
        let scratch = Self(folder);
        scratch.git(&["init", "--quiet"]);
        scratch.commit();
        scratch
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.current_dir(self.0.path());
        git.args(["-c", "user.name=Test", "-c", "user.email=test@example.com"]);
        git.args(["-c", "commit.gpgsign=false", "-c", "core.hooksPath="]);
        text(git.args(arguments), b"")
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", "A commit"]);
    }

    fn bump(&self, version: &str) -> Option<String> {
        refused(Command::new(self.0.path().join("release/bump")).arg(version))
    }

    fn read(&self, name: &str) -> String {
        read(&self.0.path().join(name))
    }
}

#[test]
fn a_bump_sets_each_version_and_dates_the_changelog() {
    let scratch = Scratch::new();
    assert_eq!(scratch.bump("9.8.7"), None);
    let before = scratch.git(&["show", "HEAD:CHANGELOG.md"]);
    let (start, rest) = before.split_once("## [Unreleased]\n").unwrap();
    let after = scratch.read("CHANGELOG.md");
    let moved = after
        .strip_prefix(&format!("{start}## [Unreleased]\n\n## [9.8.7] - 2"))
        .unwrap();
    assert!(moved.ends_with(rest) && moved.len() == rest.len() + "YYY-MM-DD\n".len());
    let chart = read_value(&scratch.read("deploy/chart/Chart.yaml")).unwrap();
    assert_eq!(chart["version"], "9.8.7");
    // Fails if Cargo.lock is not what the manifests say.
    let mut cargo = Command::new("cargo");
    cargo.current_dir(scratch.0.path());
    cargo.args(["tree", "--locked", "--offline", "--workspace"]);
    cargo.args(["--depth", "0", "--prefix", "none"]);
    let members = text(&mut cargo, b"");
    let members: Vec<&str> = members.lines().filter(|line| !line.is_empty()).collect();
    assert!(members.len() > 5, "{members:?}");
    for member in members {
        assert!(member.contains(" v9.8.7 "), "{member}");
    }
    let driver = scratch.read("tests/fuzz/driver/Cargo.lock");
    assert!(driver.contains("name = \"sealkit-fuzz\"\nversion = \"9.8.7\""));
    // Whoever names the version elsewhere adds the place to release/bump.
    scratch.commit();
    let version = format!(r"\bv{}\b", VERSION.replace('.', r"\."));
    let places = ["README.md", "SECURITY.md", "deploy", "docs", "release"];
    let mut grep = Command::new("git");
    grep.current_dir(scratch.0.path());
    grep.args(["grep", "--perl-regexp", &version, "--"])
        .args(places);
    let left = String::from_utf8(outcome(&mut grep, b"").stdout).unwrap();
    assert_eq!(left, "");
}

#[test]
fn a_bump_refuses_a_tree_with_changes_and_a_version_that_was() {
    let scratch = Scratch::new();
    let file = scratch.0.path().join("changed");
    fs::write(&file, "").unwrap();
    let said = scratch.bump("9.8.7").unwrap();
    assert!(said.contains("the tree has changes"), "{said}");
    fs::remove_file(file).unwrap();
    assert_eq!(scratch.git(&["status", "--porcelain"]), "");
    assert_eq!(scratch.bump("9.8.7"), None);
    scratch.commit();
    for version in ["9.8.7", "9.8.6", "0.1.0", "v9.9.0", "9.9", "9.9.0-rc.1"] {
        let said = scratch.bump(version).expect(version);
        assert!(said.starts_with("release/bump: "), "{said}");
        assert_eq!(scratch.git(&["status", "--porcelain"]), "");
    }
    let said = scratch.bump("9.9.0").expect("nothing is unreleased");
    assert!(said.contains("nothing under [Unreleased]"), "{said}");
}

#[test]
fn a_tag_is_built_only_from_the_tree_that_it_names() {
    let scratch = Scratch::new();
    let build = |tag: &str| {
        let mut build = Command::new(scratch.0.path().join("release/build"));
        build.args(["--tag", tag, "--programs", "."]);
        refused(build.arg(scratch.0.path().join("target/dist"))).expect("a refusal")
    };
    let said = build("v9.8.7");
    assert!(said.contains("not that of the tag v9.8.7"), "{said}");
    assert_eq!(scratch.bump("9.8.7"), None);
    let said = build("v9.8.7");
    assert!(said.contains("differs from its commit"), "{said}");
}

#[test]
fn workflows_are_valid_pinned_and_run_scripts_that_exist() {
    let folder = tree(".github/workflows");
    let mut lint = go("actionlint", "actionlint");
    // What else is installed here must not decide.
    lint.args(["-shellcheck=", "-pyflakes="]);
    run(lint.arg(folder.join("release.yaml")), b"");

    let workflow = read_value(&read(&folder.join("release.yaml"))).unwrap();
    assert_eq!(workflow["permissions"], serde_json::json!({}));
    let dockerfile = read(&tree("Dockerfile"));
    let builder = dockerfile
        .lines()
        .find_map(|it| it.strip_prefix("ARG BUILDER="));
    let build = &workflow["jobs"]["build"];
    assert_eq!(build["container"].as_str(), builder);
    let version = build["env"]["RUSTUP_TOOLCHAIN"].as_str().unwrap();
    assert!(dockerfile.contains(&format!("RUSTUP_TOOLCHAIN={version}\n")));
    let mut scripts = 0;
    for job in workflow["jobs"].as_object().unwrap().values() {
        for step in job["steps"].as_array().unwrap() {
            if let Some(action) = step["uses"].as_str() {
                let (_, commit) = action.split_once('@').unwrap();
                let is_commit =
                    commit.len() == 40 && commit.bytes().all(|it| it.is_ascii_hexdigit());
                assert!(is_commit, "{action}");
            }
            let words = step["run"].as_str().unwrap_or_default().split_whitespace();
            for script in words.filter(|word| word.starts_with("release/")) {
                assert!(tree(script).is_file(), "{script}");
                scripts += 1;
            }
        }
    }
    assert!(scripts > 0);
}
