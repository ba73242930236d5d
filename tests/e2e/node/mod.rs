//! The installation as a cluster runs it: its image, its pods, their probes and budgets, on a node.

mod pods;
mod restart;
mod rollout;
mod uninstall;
mod webhook;

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use sealkit_rig::Node;
use sealkit_tests::namespace::condition;
use sealkit_tests::plane::{LEASE, Plane, SYSTEM, judge};
use sealkit_tests::repository::{NAMESPACE, Repository};
use sealkit_tests::wait::{wait_for, wait_within};
use serde_json::Value;

#[test]
fn the_installation_opens_what_seal_sealed() {
    let Some(installation) = Installation::take() else {
        return;
    };
    installation
        .kubectl(&["create", "namespace", NAMESPACE])
        .unwrap();
    let repository = Repository::new(&installation, 2);
    repository.apply(&installation);
    let shop = installation.existing_namespace(NAMESPACE);
    repository.wait_ready(&shop);
    repository.done(&installation, &["git", "install"], "");
    repository.done(&installation, &["doctor"], "");
    installation
        .kubectl(&["delete", "namespace", NAMESPACE])
        .unwrap();
}

#[test]
fn the_installation_is_observable() {
    let Some(installation) = Installation::take() else {
        return;
    };
    let says_so = |pod: &Pod| {
        let log = installation.system(&["logs", &pod.name]);
        log.is_ok_and(|log| log.contains("\"leading\""))
    };
    wait_for("one log that says who leads", || {
        let leaders = installation.pods().into_iter().filter(says_so);
        (leaders.count() == 1).then_some(())
    });
    // Through the Service, to a pod on its own network.
    let proxy = format!("/api/v1/namespaces/{SYSTEM}/services/seal-controller:http/proxy");
    let metrics = installation
        .kubectl(&["get", "--raw", &format!("{proxy}/metrics")])
        .unwrap();
    assert!(metrics.contains("\nsealkit_leader "), "{metrics}");
}

/// `deploy/base` on a node of its own, for one test at a time. Dropping it ends the test: every status
/// written so far must have kept the rules.
struct Installation {
    world: &'static World,
    _turn: MutexGuard<'static, ()>,
}

struct World {
    plane: Plane,
    /// What it runs on.
    _node: Node,
}

/// A pod of the controller.
#[derive(Debug)]
struct Pod {
    name: String,
    uid: String,
    object: Value,
}

impl Installation {
    /// With two replicas that are ready; `None` where this machine cannot run a node.
    fn take() -> Option<Self> {
        static WORLD: OnceLock<World> = OnceLock::new();
        static TURN: Mutex<()> = Mutex::new(());
        if let Some(reason) = Node::missing() {
            assert!(std::env::var_os("CI").is_none(), "{reason}");
            eprintln!("skipped: {reason}");
            return None;
        }
        // A test that failed left something that the next one replaces.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let installation = Self {
            world: WORLD.get_or_init(World::start),
            _turn: turn,
        };
        installation.install();
        Some(installation)
    }

    /// As the documentation says.
    fn install(&self) {
        // What a test leaves when it fails would hold up the next one.
        self.kubectl(&["uncordon", Node::NAME]).unwrap();
        let configuration = ["validatingwebhookconfiguration", "sealkit"];
        self.kubectl(&[&["delete", "--ignore-not-found"], &configuration[..]].concat())
            .unwrap();
        self.servers
            .apply_kustomize(&root().join("deploy/base"))
            .unwrap();
        self.wait_whole();
        self.newest_key();
    }

    /// Waits until both replicas of the newest kind are ready, and no other is left.
    fn wait_whole(&self) {
        self.system(&[
            "rollout",
            "status",
            "deploy/seal-controller",
            "--timeout=120s",
        ])
        .unwrap();
        wait_within(Duration::from_mins(1), "two ready replicas", || {
            let pods = self.pods();
            let all = pods.len() == 2 && pods.iter().all(Pod::is_ready);
            all.then_some(())
        });
    }

    /// `deploy/base` with a patch of its Deployment, as somebody applies it who made a mistake.
    fn apply_patched(&self, patch: &str) {
        self.apply_with(&format!(
            "patches:\n- target: {{kind: Deployment}}\n  patch: '{patch}'\n"
        ));
    }

    /// `deploy/base` with more lines in the kustomization.
    fn apply_with(&self, lines: &str) {
        let folder = tempfile::tempdir_in(root().join("target")).unwrap();
        let text = format!("resources: [../../deploy/base]\n{lines}");
        fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
        self.servers.apply_kustomize(folder.path()).unwrap();
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        self.servers
            .kubectl(arguments)
            .map_err(|error| error.to_string())
    }

    /// kubectl in the controller's namespace.
    fn system(&self, arguments: &[&str]) -> Result<String, String> {
        self.kubectl(&[&["--namespace", SYSTEM], arguments].concat())
    }

    /// The controller's pods, oldest first.
    fn pods(&self) -> Vec<Pod> {
        let path = format!(
            "/api/v1/namespaces/{SYSTEM}/pods?labelSelector=app.kubernetes.io%2Fcomponent%3Dcontroller"
        );
        let mut pods: Vec<Pod> = self.api.list(&path).into_iter().map(Pod::new).collect();
        let born = |pod: &Pod| {
            let born = pod.object["metadata"]["creationTimestamp"].as_str();
            born.unwrap().to_owned()
        };
        pods.sort_by_key(born);
        pods
    }

    /// The pod that holds the lease.
    fn leader(&self) -> Pod {
        wait_for("a leader", || {
            let lease = self.api.get(LEASE)?;
            let holder = lease["spec"]["holderIdentity"].as_str()?;
            self.pods().into_iter().find(|pod| pod.name == holder)
        })
    }
}

impl Deref for Installation {
    type Target = Plane;

    fn deref(&self) -> &Plane {
        &self.world.plane
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if thread::panicking() {
            let pods = self.system(&["describe", "pods"]);
            eprintln!("{}", pods.unwrap_or_else(|error| error));
            eprintln!("logs: {}", self.logs().display());
        } else {
            judge(self);
        }
    }
}

impl World {
    fn start() -> Self {
        let (node, servers) = Node::start().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        node.import(&crate::image::archive(scratch.path()).0)
            .unwrap();
        let plane = Plane::on(servers, "deploy/base");
        Self { plane, _node: node }
    }
}

impl Pod {
    fn new(object: Value) -> Self {
        let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
        Self {
            name: text("name"),
            uid: text("uid"),
            object,
        }
    }

    fn is_ready(&self) -> bool {
        condition(&self.object, "Ready") == Some("True")
    }

    /// Its container's status.
    fn container(&self) -> &Value {
        &self.object["status"]["containerStatuses"][0]
    }

    /// The id of the controller's process, as the machine counts.
    fn process(&self) -> u32 {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let found = processes.filter_map(|entry| {
            let id = entry.file_name().to_string_lossy().parse::<u32>().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            let groups = fs::read_to_string(entry.path().join("cgroup")).ok()?;
            (name.trim() == "seal-controller" && groups.contains(&self.uid)).then_some(id)
        });
        let found: Vec<u32> = found.collect();
        assert_eq!(found.len(), 1, "{}: {found:?}", self.name);
        found[0]
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
