//! Judges one request, by the rules by which the reconcilers judge the object later.

use std::sync::Arc;
use std::time::Duration;

use kube::core::object::HasStatus;
use sealkit_core::api::external::{
    ClusterSecretStore, ExternalSecret, GROUP as EXTERNAL_GROUP, SecretStore, StoreKind,
};
use sealkit_core::api::{GROUP, SealedSecret};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::review::{Request, Verdict};
use super::sealing_key;
use crate::keys::KeysReceiver;
use crate::object::{Key, Namespaces, Raw};
use crate::queue::Turns;
use crate::settings::Rules;
use crate::{external_secret, sealed_secret, secret_store};

/// Objects that are judged at once. The largest ones take tens of megabytes while they are read.
const AT_ONCE: usize = 4;
/// How long a request waits for its turn.
const WAIT: Duration = Duration::from_secs(2);
/// How long one may take: API servers wait for ten seconds.
const WITHIN: Duration = Duration::from_secs(7);

/// Why a request got no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoVerdict {
    /// Too many others are judged: try again.
    Busy,
    /// It took too long, or a bug of ours.
    Failed,
}

/// What the judge needs to know.
pub struct Judge {
    /// The API server.
    pub client: kube::Client,
    /// The keys in force.
    pub keys: KeysReceiver,
    /// The administrator's rules.
    pub rules: Arc<Rules>,
    /// The namespaces that are served.
    pub served: Vec<Namespaces>,
    /// Are ExternalSecrets and their stores served?
    pub external: bool,
    /// The class of this controller.
    pub class: String,
    /// Namespaces take turns; none has all places.
    pub turns: Arc<Turns>,
}

impl Judge {
    /// Places for requests: see [`Judge::turns`].
    pub fn turns() -> Arc<Turns> {
        Turns::new(AT_ONCE, AT_ONCE - 1)
    }

    /// Judges a request.
    pub async fn verdict(&self, request: &Request<'_>) -> Result<Verdict, NoVerdict> {
        let is_key = is(request, GROUP, "SealingKey");
        if is_key && sealing_key::takes_away(request) || !is_key && request.has_news() {
            let turn = self.turns.take(&request.namespace);
            let turn = tokio::time::timeout(WAIT, turn).await;
            let _place = turn.map_err(|_| NoVerdict::Busy)?;
            let judged = tokio::time::timeout(WITHIN, self.judged(request));
            return judged.await.unwrap_or(Err(NoVerdict::Failed));
        }
        Ok(Verdict::Allowed)
    }

    async fn judged(&self, request: &Request<'_>) -> Result<Verdict, NoVerdict> {
        if request.kind.group == EXTERNAL_GROUP && !self.external {
            return Ok(Verdict::Allowed);
        }
        let key = Key {
            namespace: request.namespace.clone(),
            name: request.name.clone(),
        };
        let is_namespaced = !key.namespace.is_empty();
        if is_namespaced && !self.served.iter().any(|served| served.covers(&key)) {
            let what = "no controller serves this namespace (--watch-namespaces)";
            return Ok(Verdict::Warned(what.to_owned()));
        }
        let external = |kind| is(request, EXTERNAL_GROUP, kind);
        if is(request, GROUP, "SealedSecret") {
            self.sealed_secret(request).await
        } else if is(request, GROUP, "SealingKey") {
            Ok(sealing_key::verdict(&self.client, &self.served, &self.keys, request).await)
        } else if external("ExternalSecret") {
            let rules = self.rules.clone();
            apart::<ExternalSecret>(request, move |object| {
                external_secret::verdict(object, &rules)
            })
            .await
        } else if external("SecretStore") {
            let class = self.class.clone();
            apart::<SecretStore>(request, move |object| {
                secret_store::verdict(StoreKind::SecretStore, object, &class)
            })
            .await
        } else if external("ClusterSecretStore") {
            let class = self.class.clone();
            apart::<ClusterSecretStore>(request, move |object| {
                secret_store::verdict(StoreKind::ClusterSecretStore, object, &class)
            })
            .await
        } else {
            Ok(Verdict::Allowed)
        }
    }

    async fn sealed_secret(&self, request: &Request<'_>) -> Result<Verdict, NoVerdict> {
        let Some(keys) = self.keys.borrow().clone() else {
            let what = "not checked: this replica has not read the keys yet";
            return Ok(Verdict::Warned(what.to_owned()));
        };
        let rules = self.rules.clone();
        apart::<SealedSecret>(request, move |object| {
            sealed_secret::verdict(object, &keys, &rules)
        })
        .await
    }
}

fn is(request: &Request<'_>, group: &str, kind: &str) -> bool {
    request.kind.group == group && request.kind.kind == kind
}

/// Judges outside the tasks that serve others: a panic ends in its own answer.
async fn apart<K>(
    request: &Request<'_>,
    judge: impl FnOnce(&Raw<K>) -> Verdict + Send + 'static,
) -> Result<Verdict, NoVerdict>
where
    K: HasStatus + 'static,
    K::Status: DeserializeOwned + Send,
{
    let text = request.object.map_or("null", RawValue::get);
    let object = serde_json::from_str::<Raw<K>>(text);
    let mut object = object.map_err(|_| NoVerdict::Failed)?;
    // API servers add both, but not all of them before they ask.
    let metadata = &mut object.metadata;
    let fill = |field: &mut Option<String>, text: &str| {
        if field.is_none() && !text.is_empty() {
            *field = Some(text.to_owned());
        }
    };
    fill(&mut metadata.namespace, &request.namespace);
    fill(&mut metadata.name, &request.name);
    let judged = tokio::task::spawn_blocking(move || judge(&object)).await;
    judged.map_err(|_| NoVerdict::Failed)
}
