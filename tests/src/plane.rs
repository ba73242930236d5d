//! Control planes with Sealkit installed: one that tests share with one controller, and a few that
//! a test has for itself.

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use sealkit_core::keys::Recipient;
use sealkit_rig::{ControlPlane, Options};
use serde_json::Value;

use crate::api::ApiClient;
use crate::controller::{Controller, Flags};
use crate::namespace::{Namespace, condition};
use crate::recorder::Recorder;
use crate::wait::wait_for;

/// The API of External Secrets.
const EXTERNAL: &str = "external-secrets.io/v1";
/// Where Sealkit lives.
pub const SYSTEM: &str = "sealkit-system";
/// Where `SealingKeys` are.
pub const SEALING_KEYS: &str = "/apis/sealkit.dev/v1beta1/sealingkeys";
/// Where the lease is.
pub const LEASE: &str =
    "/apis/coordination.k8s.io/v1/namespaces/sealkit-system/leases/seal-controller";
/// Secrets of the controller's namespace.
pub const SYSTEM_SECRETS: &str = "/api/v1/namespaces/sealkit-system/secrets";

/// A control plane with the manifests of `deploy/base` and a recorder.
pub struct Plane {
    /// The recorder of statuses.
    pub recorder: Recorder,
    /// The administrator.
    pub api: ApiClient,
    /// The kubeconfig of the controller's `ServiceAccount`.
    pub controller_kubeconfig: PathBuf,
    /// The servers.
    pub servers: ControlPlane,
}

impl Plane {
    fn start() -> Self {
        Self::with("deploy/base")
    }

    /// One with the manifests of a folder of the repository, for one test.
    pub fn with(kustomization: &str) -> Self {
        Self::with_servers(kustomization, Options::default())
    }

    /// One whose API server sends lists in pages only, as those before Kubernetes 1.34 do.
    pub fn without_watch_list(kustomization: &str) -> Self {
        let flags = vec!["--feature-gates=WatchList=false".to_owned()];
        let options = Options {
            extra_apiserver_flags: flags,
            ..Options::default()
        };
        Self::with_servers(kustomization, options)
    }

    fn with_servers(kustomization: &str, options: Options) -> Self {
        Self::on(ControlPlane::start(options).unwrap(), kustomization)
    }

    /// One with the manifests of a folder of the repository, on servers that run.
    pub fn on(servers: ControlPlane, kustomization: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        servers.apply_kustomize(&root.join(kustomization)).unwrap();
        let hour = Some(Duration::from_hours(1));
        let controller_kubeconfig = servers
            .service_account_kubeconfig(SYSTEM, "seal-controller", hour)
            .unwrap();
        let api = ApiClient::new(servers.kubeconfig());
        for plural in ["sealedsecrets", "sealingkeys", "rewraprequests"] {
            let path = format!("/apis/sealkit.dev/v1beta1/{plural}");
            wait_for("the resources are served", || api.try_get(&path).ok());
        }
        let recorder = Recorder::start(&api);
        Self {
            recorder,
            api,
            controller_kubeconfig,
            servers,
        }
    }

    /// Starts a controller, which may have to wait for the lease.
    pub fn controller(&self, flags: &Flags) -> Controller {
        Controller::start(&self.controller_kubeconfig, &self.logs(), flags)
    }

    /// Starts a controller and waits until it leads.
    pub fn leading_controller(&self) -> Controller {
        let mut controller = self.controller(&Flags::default());
        controller.wait_leading();
        controller
    }

    /// Where logs go.
    pub fn logs(&self) -> PathBuf {
        self.servers.dir().join("logs")
    }

    /// A namespace of a name that nobody else has, for objects sealed to the newest key.
    pub fn namespace(&self, label: &str) -> Namespace {
        let recipient = recipient(&self.newest_key());
        let name = unique(label);
        let test = TEST.with(Arc::downgrade);
        let mut made = NAMESPACES.lock().unwrap_or_else(PoisonError::into_inner);
        made.push((test, name.clone()));
        drop(made);
        Namespace::create(&self.api, &name, recipient)
    }

    /// A namespace that somebody else has made.
    pub fn existing_namespace(&self, name: &str) -> Namespace {
        Namespace::existing(&self.api, name, &recipient(&self.newest_key()))
    }

    /// A `SealingKey`.
    pub fn sealing_key(&self, name: &str) -> Value {
        self.api
            .get(&format!("{SEALING_KEYS}/{name}"))
            .unwrap_or_else(|| panic!("no SealingKey {name}"))
    }

    /// All `SealingKeys`.
    pub fn sealing_keys(&self) -> Vec<Value> {
        self.api.list(SEALING_KEYS)
    }

    /// The `SealingKey` that is Active and Ready; waits until there is exactly one.
    pub fn newest_key(&self) -> Value {
        wait_for("a sealing key that is Active and Ready", || {
            let mut keys = self.sealing_keys();
            keys.retain(|key| {
                key["status"]["state"] == "Active" && condition(key, "Ready") == Some("True")
            });
            // While a new key supersedes the old one, both may be there for a moment.
            keys.pop().filter(|_| keys.is_empty())
        })
    }

    /// The identity Secrets.
    pub fn identities(&self) -> Vec<Value> {
        self.api.list(&format!(
            "{SYSTEM_SECRETS}?fieldSelector=type%3Dsealkit.dev/identity"
        ))
    }

    /// A client with a token of a new `ServiceAccount` in `namespace`.
    pub fn service_account(&self, namespace: &str, name: &str) -> ApiClient {
        self.servers
            .kubectl(&["create", "serviceaccount", name, "-n", namespace])
            .unwrap();
        let kubeconfig = self
            .servers
            .service_account_kubeconfig(namespace, name, None)
            .unwrap();
        ApiClient::new(&kubeconfig)
    }

    /// Deletes what would be refreshed for ever in the namespaces of tests that are over. Hundreds of
    /// such objects with short intervals take the time of the tests that follow.
    fn end_refreshes(&self) {
        let mut made = NAMESPACES.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |(test, _): &mut (Weak<()>, String)| test.strong_count() == 0;
        let over: Vec<_> = made.extract_if(.., is_over).collect();
        drop(made);
        for (_, namespace) in over {
            for plural in ["externalsecrets", "secretstores"] {
                let path = format!("/apis/{EXTERNAL}/namespaces/{namespace}/{plural}");
                if let Err(refusal) = self.api.delete(&path) {
                    eprintln!("{path} stay: {refusal:?}");
                }
            }
        }
    }

    /// As it was after the installation, but for namespaces.
    fn clean(&self) {
        let gone = |path: &str| match self.api.delete(path) {
            Ok(_) => {}
            Err(refusal) => assert_eq!(refusal.code, 404, "{path}: {refusal:?}"),
        };
        gone(LEASE);
        for plural in ["clusterexternalsecrets", "clustersecretstores"] {
            gone(&format!("/apis/{EXTERNAL}/{plural}"));
        }
        for (group, plural) in [
            ("sealkit.dev/v1beta1", "sealedsecrets"),
            (EXTERNAL, "externalsecrets"),
            (EXTERNAL, "secretstores"),
        ] {
            for object in self.api.list(&format!("/apis/{group}/{plural}")) {
                let text = |field: &str| object["metadata"][field].as_str().unwrap().to_owned();
                let (namespace, name) = (text("namespace"), text("name"));
                gone(&format!(
                    "/apis/{group}/namespaces/{namespace}/{plural}/{name}"
                ));
            }
        }
        for request in self.api.list("/apis/sealkit.dev/v1beta1/rewraprequests") {
            gone(&crate::rewrap::path_of(&request));
        }
        gone(SEALING_KEYS);
        gone(crate::rewrap::TRUSTED);
        for secret in self.identities() {
            gone(&format!(
                "{SYSTEM_SECRETS}/{}",
                secret["metadata"]["name"].as_str().unwrap()
            ));
        }
    }
}

/// The namespaces that tests have made. What the thread of a test holds is gone when the test is over.
static NAMESPACES: Mutex<Vec<(Weak<()>, String)>> = Mutex::new(Vec::new());

thread_local! {
    static TEST: Arc<()> = Arc::new(());
}

/// The public key of a `SealingKey`.
pub fn recipient(key: &Value) -> Recipient {
    key["status"]["recipient"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// The name of an object.
pub fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// A name that begins with `label` and that nobody else has.
pub fn unique(label: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    format!("{label}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The shared control plane and its one controller. Dropping it ends the test: every status
/// written so far must have kept the rules.
pub struct Shared {
    world: &'static (Plane, Mutex<Controller>),
}

impl Shared {
    /// The one of this process, started by the first caller.
    pub fn get() -> Self {
        static SHARED: OnceLock<(Plane, Mutex<Controller>)> = OnceLock::new();
        let world = SHARED.get_or_init(|| {
            let plane = Plane::start();
            let mut controller = plane.controller(&Flags {
                log: "trace",
                ..Flags::default()
            });
            controller.wait_leading();
            (plane, Mutex::new(controller))
        });
        world.0.end_refreshes();
        Self { world }
    }

    /// Asks the controller something.
    pub fn controller<T>(&self, ask: impl FnOnce(&mut Controller) -> T) -> T {
        ask(&mut self.world.1.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Deref for Shared {
    type Target = Plane;

    fn deref(&self) -> &Plane {
        &self.world.0
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "logs of the control plane and the controller: {}",
                self.logs().display()
            );
            return;
        }
        assert!(
            self.controller(|controller| controller.process.is_running()),
            "the controller ended"
        );
        judge(self);
    }
}

/// A control plane for one test, without a controller. Dropping it ends the test, as with
/// [`Shared`].
pub struct Own {
    plane: Option<Plane>,
}

/// How many there are at once: each costs half a gibibyte.
const OWN_PLANES: usize = 2;

static IDLE: Mutex<(usize, Vec<Plane>)> = Mutex::new((0, Vec::new()));
static GIVEN_BACK: Condvar = Condvar::new();

impl Own {
    /// Waits for a control plane that no other test uses, or starts one.
    pub fn take() -> Self {
        let mut pool = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        let plane = loop {
            if let Some(plane) = pool.1.pop() {
                drop(pool);
                plane.clean();
                break plane;
            }
            if pool.0 < OWN_PLANES {
                pool.0 += 1;
                drop(pool);
                break Plane::start();
            }
            pool = GIVEN_BACK
                .wait(pool)
                .unwrap_or_else(PoisonError::into_inner);
        };
        Self { plane: Some(plane) }
    }
}

impl Deref for Own {
    type Target = Plane;

    fn deref(&self) -> &Plane {
        self.plane.as_ref().unwrap()
    }
}

impl DerefMut for Own {
    fn deref_mut(&mut self) -> &mut Plane {
        self.plane.as_mut().unwrap()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let plane = self.plane.take().unwrap();
        let failed = thread::panicking();
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            if !failed {
                judge(&plane);
            }
        }));
        let mut pool = IDLE.lock().unwrap_or_else(PoisonError::into_inner);
        if failed || judged.is_err() {
            pool.0 -= 1;
        } else {
            pool.1.push(plane);
        }
        drop(pool);
        GIVEN_BACK.notify_one();
        if let Err(panic) = judged {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Every status written so far must have kept the rules.
pub fn judge(plane: &Plane) {
    let violations = plane.recorder.violations();
    assert!(
        violations.is_empty(),
        "statuses broke rules: {violations:#?}\nlogs: {}",
        plane.logs().display()
    );
}
