//! A cluster whose objects come from a Git repository: a `SealedSecret` in `secrets/`, and in `apps/`
//! what must not come before its Secret.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use sealkit_rig::{GitRepository, GitServer, OpenBao};
use serde_json::{Value, json};

use crate::canary::unique_value;
use crate::controller::{Controller, Flags};
use crate::namespace::{Namespace, condition, data};
use crate::plane::{Plane, SYSTEM_SECRETS, judge, unique};
use crate::program::program;
use crate::repository::tree;
use crate::sealing::Draft;
use crate::wait::{holds_for, wait_until};

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

    /// The `SealedSecret` `db`, with a value that was sealed for another object.
    pub fn broken(&self, value: &str) -> Value {
        let draft = self.shop.draft("other").value("password", value);
        let mut broken = draft.manifest();
        broken["metadata"]["name"] = "db".into();
        broken
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

    /// The `ExternalSecret` `mail` with the token at this key of [`Delivery::serve`]'s store.
    pub fn external(&self, key: &str) -> Value {
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {
                "name": "mail", "namespace": self.shop.name,
                "annotations": {"argocd.argoproj.io/sync-wave": "-1"},
            },
            "spec": {
                "refreshInterval": "1h", "secretStoreRef": {"name": "vault"},
                "data": [{"secretKey": "TOKEN", "remoteRef": {"key": key, "property": "token"}}],
            },
        })
    }

    /// Makes a `SecretStore` `vault` with a token at each of these keys.
    pub fn serve(&self, keys: &[&str]) {
        let bao = OpenBao::shared().unwrap();
        let mount = unique("delivery");
        bao.root().mount_kv(&mount).unwrap();
        for key in keys {
            let token = json!({"token": unique_value()});
            bao.root().put(&mount, key, &token).unwrap();
        }
        let token = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vault-token"},
            "stringData": {"token": bao.root_token()},
        });
        self.plane
            .api
            .create(&self.shop.secrets_path(), &token)
            .unwrap();
        let store = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "SecretStore",
            "metadata": {"name": "vault"},
            "spec": {"provider": {"vault": {
                "server": bao.url(), "path": mount,
                "auth": {"tokenSecretRef": {"name": "vault-token", "key": "token"}},
            }}},
        });
        let namespace = &self.shop.name;
        let path = format!("/apis/external-secrets.io/v1/namespaces/{namespace}/secretstores");
        self.plane.api.create(&path, &store).unwrap();
    }

    /// Puts a folder of our repository into this one, with its own address where it says so, verifies
    /// it and pushes the commit.
    pub fn take(&self, folder: &str) {
        for (path, text) in tree(&root().join(folder)) {
            let path = path.rsplit_once(&format!("{folder}/")).unwrap().1;
            let text = text.replace(EXAMPLE_URL, self.repository.url());
            self.repository.write(path, &text).unwrap();
        }
        let mut verify = Command::new(program("seal"));
        verify.arg("verify").current_dir(self.repository.tree());
        assert!(verify.status().unwrap().success(), "{folder}");
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

    /// The same, of a version that comes instead of another, which must never come.
    pub fn wait_instead(&self, never: &str, version: &str, value: &str) {
        wait_until(&format!("version {version} of the application"), || {
            let app = self.app();
            assert_ne!(app.as_deref(), Some(never), "it never comes");
            app.as_deref() == Some(version)
        });
        assert!(self.has_value(value), "the application came first");
    }

    /// Nothing that comes after the Secret is applied for so long; then the controller starts, and this
    /// version follows with its value.
    pub fn is_held(&mut self, looks: Duration, before: Option<&str>, version: &str, value: &str) {
        holds_for(looks, "what comes after waits", || {
            self.app().as_deref() == before
        });
        self.start_controller();
        self.wait_app(version, value);
    }

    /// An update to version 2, which the controller is not there to see, is held although the object is
    /// still Ready: for the generation before.
    pub fn holds_an_update(&mut self, looks: Duration, value: &str) {
        self.stop_controller();
        self.commit(&self.db(value).manifest(), "2");
        self.wait_generation(2);
        let stale = self.shop.sealed("db");
        assert_eq!(condition(&stale, "Ready"), Some("True"), "of generation 1");
        self.is_held(looks, Some("1"), "2", value);
    }

    /// Waits until the `SealedSecret` in the cluster has this generation.
    pub fn wait_generation(&self, generation: i64) {
        wait_until(&format!("generation {generation}"), || {
            let object = self.plane.api.get(&self.shop.sealed_path("db"));
            object.is_some_and(|object| object["metadata"]["generation"] == generation)
        });
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !thread::panicking() {
            judge(&self.plane);
        }
    }
}
