//! What Git's history holds: which files there were, and when.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use zeroize::Zeroizing;

use super::command::{command, path};
use super::repository::Repository;
use crate::error::{CommandError, Result};
use crate::terminal::safe;

/// The history of one clone.
#[derive(Clone)]
pub(crate) struct History {
    root: PathBuf,
}

/// A commit, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Commit {
    /// Later ones have more; no commit has more than those that build on it.
    pub rank: i64,
    /// Its id, in hex.
    pub id: String,
    /// When it was made, in seconds since 1970: that of the committer, which a rebase renews.
    pub time: i64,
}

/// A version of a file.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    /// A path that it had.
    pub path: PathBuf,
    /// The first commit that brought it.
    pub first: Commit,
    /// The last commit that brought it.
    pub last: Commit,
}

/// Who wrote a commit, and when, as the commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Author {
    /// The name.
    pub name: String,
    /// The address.
    pub email: String,
    /// When it was written, in the form of RFC 3339.
    pub date: String,
}

/// Larger versions hold no manifest that could be read.
const LARGEST: u64 = sealkit_core::manifest::INPUT_BYTES as u64;

impl History {
    /// The history around this folder. A shallow clone is an error: what it does not have would
    /// look clean.
    pub fn open(folder: &Path) -> Result<Self> {
        let history = Self::around(folder)?;
        if history.is_shallow()? {
            return Err(
                CommandError::input("this is a shallow clone, which lacks the history")
                    .hint("fetch it: `git fetch --unshallow`"),
            );
        }
        Ok(history)
    }

    /// The history around this folder, of which the latest is enough.
    pub fn around(folder: &Path) -> Result<Self> {
        let root = Repository::required(folder)?.root;
        Ok(Self { root })
    }

    /// Does it lack what came before some commit?
    pub fn is_shallow(&self) -> Result<bool> {
        let shallow = self.ask(&["rev-parse", "--is-shallow-repository"])?;
        Ok(shallow.trim() != "false")
    }

    /// May it lack versions of files that it never read?
    pub fn is_partial(&self) -> bool {
        let promisor = ["config", "--get-regexp", r"^remote\..*\.promisor$"];
        self.ask(&promisor).is_ok()
    }

    /// Has it the commit of this id?
    pub fn has(&self, commit: &str) -> bool {
        let name = format!("{commit}^{{commit}}");
        self.ask(&["cat-file", "-e", &name]).is_ok()
    }

    /// Root of the work tree.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The full id of a revision. A name that two refs share is an error: whoever may push a tag
    /// could choose what it means.
    pub fn commit(&self, revision: &str) -> Result<String> {
        self.refuse_ambiguous(revision)?;
        let name = format!("{revision}^{{commit}}");
        let id = self.ask(&[
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &name,
        ]);
        let id = id.map_err(|_| CommandError::input("no such revision").on(safe(revision)))?;
        Ok(id.trim().to_owned())
    }

    fn refuse_ambiguous(&self, revision: &str) -> Result<()> {
        let end = |at: usize| {
            let rest = &revision[at..];
            rest.starts_with(['~', '^', ':']) || rest.starts_with("@{")
        };
        let end = revision
            .char_indices()
            .map(|(at, _)| at)
            .find(|at| end(*at));
        let name = &revision[..end.unwrap_or(revision.len())];
        // Git reads these in its own folder, before any ref.
        if matches!(name, "" | "@" | "HEAD") {
            return Ok(());
        }
        let refs = self.ask(&["for-each-ref", "--format=%(refname)"])?;
        let places = ["", "refs/", "refs/tags/", "refs/heads/", "refs/remotes/"];
        let mut meanings: Vec<String> = places.map(|place| format!("{place}{name}")).into();
        meanings.push(format!("refs/remotes/{name}/HEAD"));
        let same = refs
            .lines()
            .filter(|full| meanings.iter().any(|it| it == full));
        let mut same: Vec<String> = same.map(str::to_owned).collect();
        if same.iter().any(|full| full == name) {
            return Ok(());
        }
        let is_upper = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        if name.starts_with("refs/") || name.bytes().all(is_upper) || self.abbreviates(name) {
            same.push(name.to_owned());
        }
        if same.len() < 2 {
            return Ok(());
        }
        let same: Vec<String> = same.iter().map(|full| safe(full)).collect();
        let what = format!("ambiguous revision, it may mean {}", same.join(" or "));
        Err(CommandError::input(what)
            .on(safe(revision))
            .hint("use the full name of the ref, such as refs/remotes/origin/main"))
    }

    /// Does it begin the id of an object?
    fn abbreviates(&self, name: &str) -> bool {
        let is_hex = name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let ask = || self.ask(&["rev-parse", &format!("--disambiguate={name}")]);
        // Git takes a whole id for nothing else.
        is_hex && (4..40).contains(&name.len()) && ask().is_ok_and(|ids| !ids.is_empty())
    }

    /// The files of a revision: path and id. Links and submodules are none.
    pub fn files(&self, commit: &str) -> Result<Vec<(PathBuf, String)>> {
        self.in_tree(commit, is_file)
    }

    /// The submodules of a revision: path and commit.
    pub fn submodules(&self, commit: &str) -> Result<Vec<(PathBuf, String)>> {
        self.in_tree(commit, is_submodule)
    }

    fn in_tree(&self, commit: &str, wanted: fn(&str) -> bool) -> Result<Vec<(PathBuf, String)>> {
        let entries = self.entries(&["ls-tree", "-r", "-z", "--full-tree", commit])?;
        // Mode, type, id.
        let entries = entries.into_iter().filter_map(|(words, path)| {
            let [mode, _, id] = words.try_into().ok()?;
            wanted(&mode).then_some((path, id))
        });
        Ok(entries.collect())
    }

    /// What Git lists: the words before each path, and the path.
    pub(super) fn entries(&self, arguments: &[&str]) -> Result<Vec<(Vec<String>, PathBuf)>> {
        let list = self.ask_bytes(arguments)?;
        let entries = list
            .split(|byte| *byte == 0)
            .filter(|entry| !entry.is_empty());
        let entries = entries.map(|entry| {
            let tab = entry.iter().position(|byte| *byte == b'\t')?;
            let words = str::from_utf8(&entry[..tab]).ok()?.split(' ');
            let words = words.map(str::to_owned).collect();
            Some((words, path(&entry[tab + 1..])?))
        });
        entries.map(|entry| entry.ok_or_else(failed)).collect()
    }

    /// The commits that branches stand at, those of other repositories included.
    pub fn tips(&self) -> Result<Vec<String>> {
        let refs = self.ask(&[
            "for-each-ref",
            "--format=%(objectname)",
            "refs/heads",
            "refs/remotes",
        ])?;
        let mut tips: Vec<String> = refs.lines().map(str::to_owned).collect();
        tips.sort();
        tips.dedup();
        Ok(tips)
    }

    /// A file of a revision, if it is there and no link.
    pub fn file(&self, commit: &str, path: &str) -> Result<Option<Vec<u8>>> {
        let literal = format!(":(literal){path}");
        let tree = self.ask(&["ls-tree", "-z", "--full-tree", commit, "--", &literal]);
        // Older versions of Git know no magic here.
        let tree = match tree {
            Ok(tree) => tree,
            Err(_) => self.ask(&["ls-tree", "-z", "--full-tree", commit, "--", path])?,
        };
        let entry = tree.split('\0').find_map(|entry| entry.split_once('\t'));
        let Some((meta, _)) = entry.filter(|(meta, _)| meta.starts_with("100")) else {
            return Ok(None);
        };
        let id = meta.split(' ').nth(2).ok_or_else(failed)?.to_owned();
        let mut bytes = None;
        self.read(&[&id], |_, content| {
            bytes = Some(content.to_vec());
            Ok(())
        })?;
        Ok(bytes)
    }

    /// What the trailers of this name say in the commits since another one: a line each.
    pub fn trailers(&self, since: &str, name: &str) -> Result<Vec<String>> {
        let format = format!("--format=%(trailers:key={name},valueonly,unfold)");
        let range = format!("{since}..HEAD");
        let color = "--no-color";
        let text = self.ask(&[
            "log",
            "--no-show-signature",
            color,
            "--no-notes",
            &format,
            &range,
        ])?;
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty());
        Ok(lines.map(str::to_owned).collect())
    }

    /// Who wrote these commits, by id.
    pub fn authors(&self, commits: &BTreeSet<&str>) -> Result<HashMap<String, Author>> {
        /// As many as a command line takes.
        const AT_ONCE: usize = 1000;
        let mut authors = HashMap::new();
        let all: Vec<&str> = commits.iter().copied().collect();
        for some in all.chunks(AT_ONCE) {
            let mut arguments = vec![
                "log",
                "--no-walk=unsorted",
                "-z",
                "--no-show-signature",
                "--no-color",
                "--no-notes",
                "--format=%H%n%aN%n%aE%n%aI",
            ];
            arguments.extend(some);
            let text = self.ask(&arguments)?;
            for entry in text.split('\0').filter(|entry| !entry.is_empty()) {
                let mut lines = entry.lines().map(str::to_owned);
                let mut next = || lines.next().ok_or_else(failed);
                let id = next()?;
                let (name, email, date) = (next()?, next()?, next()?);
                authors.insert(id, Author { name, email, date });
            }
        }
        Ok(authors)
    }

    /// All versions of files in the history of these revisions, by id.
    pub fn blobs(&self, revisions: &[&str]) -> Result<HashMap<String, Blob>> {
        let mut arguments = vec![
            "log",
            "--raw",
            "-z",
            "--no-abbrev",
            "--no-renames",
            "--root",
            "--topo-order",
            // Whatever the configuration says.
            "--diff-merges=separate",
            "--no-show-signature",
            "--no-color",
            "--no-notes",
            "--format=%x01%H %ct",
        ];
        arguments.extend(revisions);
        let mut child = self.start(&arguments, Stdio::null())?;
        let mut output = BufReader::new(child.stdout.take().ok_or_else(failed)?);
        let mut blobs: HashMap<String, Blob> = HashMap::new();
        let mut commit: Option<Commit> = None;
        // What stands before a path: the id if it is a file's.
        let mut before_path: Option<Option<String>> = None;
        let mut token = Vec::new();
        while output.read_until(0, &mut token).map_err(|_| failed())? > 0 {
            if token.last() == Some(&0) {
                token.pop();
            }
            if let Some(id) = before_path.take() {
                if let (Some(id), Some(commit)) = (id, &commit) {
                    let path = path(&token).ok_or_else(failed)?;
                    let blob = blobs.entry(id).or_insert_with(|| Blob {
                        path,
                        first: commit.clone(),
                        last: commit.clone(),
                    });
                    blob.first = blob.first.clone().min(commit.clone());
                    blob.last = blob.last.clone().max(commit.clone());
                }
                token.clear();
                continue;
            }
            let text = String::from_utf8_lossy(&token);
            let text = text.trim_start_matches('\n');
            if let Some(line) = text.strip_prefix('\u{1}') {
                // The newest comes first; a merge comes once for each parent.
                let (id, time) = line.trim().split_once(' ').ok_or_else(failed)?;
                let (id, time) = (id.to_owned(), time.parse().map_err(|_| failed())?);
                let newer = commit.as_ref().map_or(1, |newer| newer.rank);
                commit = Some(match commit {
                    Some(same) if same.id == id => same,
                    _ => Commit {
                        rank: newer - 1,
                        id,
                        time,
                    },
                });
            } else if let Some(meta) = text.strip_prefix(':') {
                // Modes and ids, old and new, and what happened.
                let fields: Vec<&str> = meta.split(' ').collect();
                let [_, mode, _, id, _] = fields.as_slice() else {
                    return Err(failed());
                };
                let is_file = mode.starts_with("100") || mode.starts_with("120");
                before_path = Some(is_file.then(|| (*id).to_owned()));
            } else if !text.is_empty() {
                return Err(failed());
            }
            token.clear();
        }
        ended(child)?;
        Ok(blobs)
    }

    /// Hands the bytes of these versions to `each`, in order; those that are larger than any
    /// manifest are left out. They are wiped then: a Secret may be among them.
    pub fn read(
        &self,
        ids: &[&str],
        mut each: impl FnMut(usize, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut child = self.start(&["cat-file", "--batch"], Stdio::piped())?;
        let mut input = child.stdin.take().ok_or_else(failed)?;
        let mut output = BufReader::new(child.stdout.take().ok_or_else(failed)?);
        let result = std::thread::scope(|scope| {
            scope.spawn(move || {
                for id in ids {
                    if writeln!(input, "{id}").is_err() {
                        break;
                    }
                }
            });
            let mut line = String::new();
            let mut next = |index: usize| {
                line.clear();
                output.read_line(&mut line).map_err(|_| failed())?;
                let size = line.trim().rsplit(' ').next();
                // Partial clones miss some: then nothing can be said.
                let size: u64 = size.and_then(|size| size.parse().ok()).ok_or_else(|| {
                    CommandError::input("this clone lacks some versions of files")
                        .hint("is it a partial clone? fetch all of it: `git fetch --refetch`")
                })?;
                // With the line feed that follows.
                let mut content = output.by_ref().take(size + 1);
                if size > LARGEST {
                    std::io::copy(&mut content, &mut std::io::sink()).map_err(|_| failed())?;
                    return Ok(());
                }
                let room = usize::try_from(size + 1).unwrap_or_default();
                let mut bytes = Zeroizing::new(Vec::with_capacity(room));
                content.read_to_end(&mut bytes).map_err(|_| failed())?;
                if bytes.pop() != Some(b'\n') {
                    return Err(failed());
                }
                each(index, &bytes)
            };
            let result = (0..ids.len()).try_for_each(&mut next);
            if result.is_err() {
                // Or it would wait for a reader, and the thread above for it.
                let _ = child.kill();
            }
            result
        });
        drop(output);
        if result.is_ok() {
            ended(child)?;
        } else {
            let _ = child.wait();
        }
        result
    }

    pub(super) fn ask(&self, arguments: &[&str]) -> Result<String> {
        let text = self.ask_bytes(arguments)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The same where paths are among what Git says: they are bytes.
    pub(super) fn ask_bytes(&self, arguments: &[impl AsRef<OsStr>]) -> Result<Vec<u8>> {
        let mut child = self.start(arguments, Stdio::null())?;
        let mut text = Vec::new();
        let mut output = child.stdout.take().ok_or_else(failed)?;
        output.read_to_end(&mut text).map_err(|_| failed())?;
        ended(child)?;
        Ok(text)
    }

    fn start(&self, arguments: &[impl AsRef<OsStr>], input: Stdio) -> Result<Child> {
        command(&self.root)
            .args(arguments)
            .stdin(input)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|_| CommandError::input("git cannot be started").hint("is it on the PATH?"))
    }
}

/// Is it the mode of a file?
pub(super) fn is_file(mode: &str) -> bool {
    mode.starts_with("100")
}

/// Is it the mode of a submodule?
pub(super) fn is_submodule(mode: &str) -> bool {
    mode == "160000"
}

pub(crate) fn failed() -> CommandError {
    CommandError::input("Git's history cannot be read").hint("does `git log` work here?")
}

fn ended(mut child: Child) -> Result<()> {
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        _ => Err(failed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::command::git;

    #[test]
    fn a_reader_that_breaks_off_ends() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        git(root, &["init", "-q"]).unwrap();
        std::fs::write(root.join("x"), vec![b'x'; 1000]).unwrap();
        let (_, id) = git(root, &["hash-object", "-w", "x"]).unwrap();
        // More than pipes hold, both ways.
        let ids = vec![id.trim(); 5000];
        let history = History::around(root).unwrap();
        let mut read = 0;
        let broken = history.read(&ids, |_, _| {
            read += 1;
            Err(failed())
        });
        assert!(broken.is_err() && read == 1);
        let whole = history.read(&ids, |_, _| {
            read += 1;
            Ok(())
        });
        whole.unwrap();
        assert_eq!(read, 5001);
    }
}
