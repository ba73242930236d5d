//! What kustomizations and Flux make of the namespaces and names of sealed objects: values that are
//! bound to other ones do not open.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use sealkit_core::manifest::Document;
use sealkit_core::names::printable;
use sealkit_core::sealed::Scope;
use serde::Deserialize;

use crate::git::repository::Location;
use crate::report::Finding;
use crate::terminal::shown;

/// The sealed objects and the kustomizations of the files that were read.
#[derive(Default)]
pub(super) struct Kustomizations {
    /// Sealed objects, by the real path of their file.
    sealed: BTreeMap<PathBuf, Vec<Sealed>>,
    /// By the real path of the folder.
    folders: BTreeMap<PathBuf, Kustomization>,
    /// What Flux builds.
    flux: Vec<Kustomization>,
}

struct Sealed {
    given: PathBuf,
    document: Document,
    /// Its own, or the one that its rule gives it.
    namespace: String,
    scope: Scope,
}

impl Sealed {
    fn id(&self) -> Id {
        Id {
            namespace: self.namespace.clone(),
            name: self.document.metadata("name").to_owned(),
        }
    }
}

/// Namespace and name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Id {
    namespace: String,
    name: String,
}

impl Id {
    fn title(&self) -> String {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        printable(&format!("{}{slash}{}", self.namespace, self.name))
    }
}

struct Kustomization {
    /// Its own file, as given.
    given: PathBuf,
    fields: Fields,
    /// Files and folders that it builds.
    resources: Vec<PathBuf>,
}

/// The fields of a kustomization that matter here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Fields {
    namespace: String,
    target_namespace: String,
    name_prefix: String,
    name_suffix: String,
    path: String,
    resources: Vec<String>,
    bases: Vec<String>,
    components: Vec<String>,
}

impl Fields {
    /// What becomes of an object. What a program fills in later is not known.
    fn apply(&self, id: &Id) -> Option<Id> {
        let parts = [
            &self.namespace,
            &self.target_namespace,
            &self.name_prefix,
            &self.name_suffix,
        ];
        if parts.iter().any(|part| part.contains(['$', '{'])) {
            return None;
        }
        let mut id = id.clone();
        for namespace in &parts[..2] {
            if !namespace.is_empty() {
                id.namespace.clone_from(namespace);
            }
        }
        id.name = format!("{}{}{}", self.name_prefix, id.name, self.name_suffix);
        Some(id)
    }
}

impl Kustomizations {
    /// Remembers a sealed object. `namespace` is that of its rule or of `-n`, which counts if it
    /// names none itself.
    pub fn add_sealed(
        &mut self,
        place: &Location,
        document: &Document,
        namespace: &str,
        scope: Scope,
    ) {
        let own = document.metadata("namespace");
        let namespace = if own.is_empty() { namespace } else { own };
        let sealed = Sealed {
            given: place.given.clone(),
            document: document.clone(),
            namespace: namespace.to_owned(),
            scope,
        };
        let file = self.sealed.entry(place.real.clone());
        file.or_default().push(sealed);
    }

    /// Remembers a document if it is a kustomization, of kustomize or of Flux.
    pub fn add(&mut self, place: &Location, document: &Document) {
        let name = place.real.file_name().unwrap_or_default();
        let is_own = name == "kustomization.yaml" || name == "kustomization.yml";
        let version = document.object.get("apiVersion");
        let version = version.and_then(|version| version.as_str());
        let is_flux = document.kind() == "Kustomization"
            && version.is_some_and(|it| it.starts_with("kustomize.toolkit.fluxcd.io/"));
        let folder = place.real.parent().unwrap_or(&place.real);
        let given = place.given.clone();
        if is_flux {
            let mut fields = fields(document.object.get("spec"));
            if fields.path.is_empty() {
                // To Flux, that is the root of the repository.
                "./".clone_into(&mut fields.path);
            }
            let root = place.root.as_deref().unwrap_or(folder);
            let resources = vec![join(root, &fields.path)];
            self.flux.push(Kustomization {
                given,
                fields,
                resources,
            });
        } else if is_own {
            let fields = fields(Some(&document.object));
            let names = [&fields.resources, &fields.bases, &fields.components];
            let resources = names.into_iter().flatten().map(|name| join(folder, name));
            let resources = resources.collect();
            let own = Kustomization {
                given,
                fields,
                resources,
            };
            self.folders.insert(folder.to_owned(), own);
        }
    }

    /// Objects that are built under another namespace or name than the one that their values are
    /// bound to, and objects that one build has twice.
    pub fn findings(&self) -> Vec<Finding> {
        let all = || self.folders.values().chain(&self.flux);
        let built: HashSet<&Path> = all()
            .flat_map(|it| &it.resources)
            .map(PathBuf::as_path)
            .collect();
        let roots = self.folders.iter();
        let roots = roots.filter(|(folder, _)| !built.contains(folder.as_path()));
        let mut findings = Vec::new();
        let mut builds = Builds::of(self);
        for root in roots.map(|(_, own)| own).chain(&self.flux) {
            let Some(objects) = builds.build(root) else {
                let what = "builds too many objects, or is nested too deeply, to look at what becomes of each";
                findings.push(Finding::new(
                    &root.given,
                    None,
                    "Unreadable",
                    what.to_owned(),
                ));
                continue;
            };
            let mut present = BTreeMap::new();
            for (sealed, id) in objects.iter() {
                let Some(id) = id else { continue };
                findings.extend(renamed(root, sealed, id));
                let first = present.entry(id).or_insert(sealed);
                if !std::ptr::eq(**first, *sealed) {
                    findings.push(duplicate(root, sealed, first));
                }
            }
        }
        let mut seen = HashSet::new();
        findings.retain(|finding| seen.insert(finding.clone()));
        findings
    }
}

/// The objects that a kustomization builds, and what becomes of each; each is there once.
type Objects<'a> = Rc<Vec<(&'a Sealed, Option<Id>)>>;

/// What kustomizations build. Whoever writes a pull request chooses how they refer to each other.
struct Builds<'a> {
    all: &'a Kustomizations,
    /// What was built already, by the folder; none that is too large.
    done: HashMap<&'a Path, Option<Objects<'a>>>,
    /// Those that are being built.
    above: Vec<&'a Path>,
}

impl<'a> Builds<'a> {
    /// Objects of one kustomization.
    const MOST: usize = 100_000;
    /// Kustomizations within each other.
    const DEEPEST: usize = 64;

    fn of(all: &'a Kustomizations) -> Self {
        Self {
            all,
            done: HashMap::new(),
            above: Vec::new(),
        }
    }

    /// `None` if it is too large.
    fn build(&mut self, own: &'a Kustomization) -> Option<Objects<'a>> {
        let all = self.all;
        let of_file = |sealed: &'a Sealed| (sealed, Some(sealed.id()));
        let mut objects = Vec::new();
        let mut seen = HashSet::new();
        for path in &own.resources {
            let added: Vec<_> = if let Some((folder, below)) = all.folders.get_key_value(path) {
                self.below(folder, below)?.to_vec()
            } else if own.fields.path.is_empty() {
                let sealed = all.sealed.get(path).into_iter().flatten();
                sealed.map(of_file).collect()
            } else {
                // Flux takes all that is below a folder without a kustomization.
                let below = all.sealed.iter();
                let below = below.filter(|(file, _)| file.starts_with(path));
                below.flat_map(|(_, sealed)| sealed).map(of_file).collect()
            };
            for (sealed, id) in added {
                if seen.insert((std::ptr::from_ref(sealed), id.clone())) {
                    let becomes = id.and_then(|id| own.fields.apply(&id));
                    objects.push((sealed, becomes));
                }
            }
            if objects.len() > Self::MOST {
                return None;
            }
        }
        Some(Rc::new(objects))
    }

    fn below(&mut self, folder: &'a Path, own: &'a Kustomization) -> Option<Objects<'a>> {
        if let Some(done) = self.done.get(folder) {
            return done.clone();
        }
        if self.above.contains(&folder) {
            // One that builds itself builds nothing.
            return Some(Rc::default());
        }
        if self.above.len() == Self::DEEPEST {
            return None;
        }
        self.above.push(folder);
        let objects = self.build(own);
        self.above.pop();
        self.done.insert(folder, objects.clone());
        objects
    }
}

fn renamed(root: &Kustomization, sealed: &Sealed, id: &Id) -> Option<Finding> {
    let own = sealed.id();
    let fits = match sealed.scope {
        Scope::Strict => own == *id,
        Scope::NamespaceWide => own.namespace == id.namespace,
        Scope::ClusterWide => true,
    };
    let what = || {
        format!(
            "{} makes it {}, but its values are bound to {} (scope {}) and will not open: \
             write the final namespace and name into the file, seal it anew, and take it out of the transformer",
            shown(&root.given),
            id.title(),
            own.title(),
            sealed.scope
        )
    };
    let found = || Finding::new(&sealed.given, Some(&sealed.document), "Transformed", what());
    (!fits).then(found)
}

fn duplicate(root: &Kustomization, sealed: &Sealed, first: &Sealed) -> Finding {
    let detail = format!(
        "{} builds an object of this namespace and name twice, the first from {}: remove one",
        shown(&root.given),
        shown(&first.given)
    );
    Finding::new(&sealed.given, Some(&sealed.document), "Duplicate", detail)
}

/// Whatever else a kustomization says is for kustomize to judge.
fn fields(object: Option<&serde_json::Value>) -> Fields {
    let fields = object.and_then(|object| serde_json::from_value(object.clone()).ok());
    fields.unwrap_or_default()
}

/// A path in a kustomization, seen from a folder.
fn join(folder: &Path, name: &str) -> PathBuf {
    let mut path = folder.to_owned();
    for part in Path::new(name).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(part) => path.push(part),
            // Flux takes an absolute path from the root of the repository.
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    path
}
