//! A cluster whose objects come from a Git repository: a `SealedSecret` in `secrets/`, and in `apps/`
//! what must not come before its Secret.

use std::path::Path;
use std::thread;

use sealkit_rig::{GitRepository, GitServer};
use serde_json::{Value, json};

use crate::controller::{Controller, Flags};
use crate::namespace::{Namespace, data};
use crate::plane::{Plane, SYSTEM_SECRETS, judge};
use crate::repository::tree;
use crate::sealing::Draft;
use crate::wait::wait_until;

/// The address of the repository in our examples.
const EXAMPLE_URL: &str = "https://git.example.com/shop/delivery.git";

/// The root of our repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// A control plane of its own, for one test. The rest of the world is for the tool that delivers.
/// Dropping it ends the test, as with [`Shared`](crate::plane::Shared).
pub struct Delivery {
    /// The repository, empty at first.
    pub repository: GitRepository,
    /// The namespace of all objects.
    pub shop: Namespace,
    /// Sealkit's controller while it runs.
    controller: Option<Controller>,
    /// The control plane.
    pub plane: Plane,
    /// The server of the repository.
    _git: GitServer,
}

impl Delivery {
    /// With a controller.
    pub fn start() -> Self {
        let plane = Plane::with("deploy/base");
        let controller = plane.leading_controller();
        let shop = plane.namespace("shop");
        let git = GitServer::start().unwrap();
        Self {
            repository: git.repository("delivery").unwrap(),
            shop,
            controller: Some(controller),
            plane,
            _git: git,
        }
    }

    /// Ends Sealkit's controller: nobody looks at what is delivered.
    pub fn stop_controller(&mut self) {
        if let Some(mut controller) = self.controller.take() {
            controller.stop();
        }
    }

    /// Starts Sealkit's controller again.
    pub fn start_controller(&mut self) {
        self.controller = Some(self.plane.controller(&Flags::default()));
    }

    /// The `SealedSecret` `db` with this value.
    pub fn db(&self, value: &str) -> Draft {
        self.shop.draft("db").value("password", value)
    }

    /// Puts the `SealedSecret` and an application of this version into the repository, and pushes the
    /// commit.
    pub fn commit(&self, db: &Value, version: &str) {
        let mut db = db.clone();
        // Argo CD: before everything else. Flux has folders for this.
        db["metadata"]["annotations"] = json!({"argocd.argoproj.io/sync-wave": "-1"});
        let app = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "app", "namespace": self.shop.name},
            "data": {"version": version},
        });
        for (path, object) in [("secrets/db.sealed.yaml", &db), ("apps/app.yaml", &app)] {
            self.repository.write(path, &object.to_string()).unwrap();
        }
        self.repository.commit(version).unwrap();
    }

    /// Puts a folder of our repository into this one, with its own address where it says so, and
    /// pushes the commit.
    pub fn take(&self, folder: &str) {
        for (path, text) in tree(&root().join(folder)) {
            let path = path.rsplit_once(&format!("{folder}/")).unwrap().1;
            let text = text.replace(EXAMPLE_URL, self.repository.url());
            self.repository.write(path, &text).unwrap();
        }
        self.repository.commit(folder).unwrap();
    }

    /// Gives the cluster a private key, from a key file, as a backup without annotations does.
    pub fn restore(&self, key_file: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "sealkit.dev/identity",
            "metadata": {"name": "restored"}, "stringData": {"identity": key_file},
        });
        self.plane.api.create(SYSTEM_SECRETS, &secret).unwrap();
    }

    /// The version of the application in the cluster, if there is one.
    pub fn app(&self) -> Option<String> {
        let path = format!("/api/v1/namespaces/{}/configmaps/app", self.shop.name);
        let app = self.plane.api.get(&path)?;
        Some(app["data"]["version"].as_str().unwrap().to_owned())
    }

    /// Whether the Secret has this value.
    pub fn has_value(&self, value: &str) -> bool {
        let secret = self.shop.secret("db");
        secret.is_some_and(|secret| secret["data"] == data(&[("password", value)]))
    }

    /// Waits until the application has this version, which must not be before the Secret has this
    /// value.
    pub fn wait_app(&self, version: &str, value: &str) {
        wait_until(&format!("version {version} of the application"), || {
            self.app().as_deref() == Some(version)
        });
        assert!(self.has_value(value), "the application came first");
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !thread::panicking() {
            judge(&self.plane);
        }
    }
}
