//! Checks a store and tells the result in its status.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{Api, Client};
use sealkit_core::api::external::{
    Capabilities, ClusterSecretStore, GROUP, SecretStore, SecretStoreSpec, StoreKind, VERSION,
    duration,
};
use sealkit_core::api::{ConditionStatus, ConditionType, Reason};
use tokio::time::Instant;

use super::{SecretStores, StoreName, lock};
use crate::kubernetes::{ApiFailure, within};
use crate::object::{Key, Kind, Origin, Raw};
use crate::queue::{Lane, pause};
use crate::status::{self, Outcome};
use crate::store::StoreError;

/// Longest pause until a store that does not work is checked again. Somebody may be about to make
/// the Secret that it refers to.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);
/// Shortest time between two checks of a store that works, whatever it says.
const OFTEN: Duration = Duration::from_secs(10);

/// The kind of a store, as the API server names it.
const fn kind(kind: StoreKind) -> Kind {
    let (name, plural) = match kind {
        StoreKind::SecretStore => ("SecretStore", "secretstores"),
        StoreKind::ClusterSecretStore => ("ClusterSecretStore", "clustersecretstores"),
    };
    Kind {
        group: GROUP,
        version: VERSION,
        kind: name,
        plural,
    }
}

impl SecretStores {
    /// Checks one store. `None` if it is gone, or not ours.
    pub(super) async fn reconciled(&self, key: &Key) -> Result<Option<Reason>, ApiFailure> {
        let name = StoreName::at(key);
        let Some(known) = self.stores.known(&name).filter(|store| !store.is_foreign) else {
            return Ok(None);
        };
        let Some((metadata, old)) = read(&self.context.client, &name).await? else {
            return Ok(None);
        };
        let generation = metadata.generation.unwrap_or_default();
        let is_known =
            metadata.uid.as_deref() == Some(&known.uid) && generation == known.generation;
        if !is_known || metadata.deletion_timestamp.is_some() {
            // The watch reports it.
            return Ok(None);
        }
        let checked = self.stores.check(&name).await;
        if checked == Some(Err(StoreError::Busy)) {
            let due = Instant::now() + LONGEST_PAUSE;
            self.queue.push(key.clone(), Lane::Background, due, None);
            return Ok(None);
        }
        let outcome = outcome(checked);
        let old = old.unwrap_or_default();
        let was_ready = status::find(&old.conditions, ConditionType::Ready)
            .is_some_and(|ready| ready.status == ConditionStatus::True);
        let now = Timestamp::now();
        let mut conditions =
            status::conditions(&outcome, generation, was_ready, &old.conditions, now);
        conditions.retain(|condition| condition.type_ != ConditionType::Synced.name());
        let is_news = !status::same(&old.conditions, &conditions);
        let mut new = old.clone();
        new.observed_generation = Some(generation);
        new.capabilities = Some(Capabilities::ReadOnly);
        if is_news {
            new.conditions = conditions;
        }
        let origin = Origin::of(kind(name.kind), &metadata);
        let version = metadata.resource_version.as_deref();
        match status::write(&self.context.client, &origin, version, Some(&old), &new).await {
            // Deleted meanwhile: the watch reports it.
            Err(ApiFailure::Status { code: 404, .. }) => return Ok(None),
            result => drop(result?),
        }
        if is_news {
            status::tell(&self.context.events, &origin, generation, &outcome);
        }
        self.conclude(key, &name, &outcome);
        let spec = known.described().ok().map(|described| &described.spec);
        self.check_again(key, &outcome, spec);
        Ok(Some(outcome.reason()))
    }

    /// Records the result. What waited for the store looks again.
    fn conclude(&self, key: &Key, name: &StoreName, outcome: &Outcome) {
        let works_again = {
            let mut checked = lock(&self.checked);
            let Some(checked) = checked.get_mut(key) else {
                return;
            };
            let failed = checked.failures > 0;
            checked.ready = outcome.is_ready();
            checked.failures = match outcome {
                Outcome::Retrying(..) => checked.failures.saturating_add(1),
                _ => 0,
            };
            checked.ready && failed
        };
        if works_again {
            self.tell(|listener| listener.store_changed(name));
        }
    }

    fn check_again(&self, key: &Key, outcome: &Outcome, spec: Option<&SecretStoreSpec>) {
        let wait = match outcome {
            Outcome::Ready(..) => spec.and_then(interval).unwrap_or(self.every).max(OFTEN),
            Outcome::Retrying(..) => {
                let failures = lock(&self.checked).get(key).map_or(1, |one| one.failures);
                pause(failures).min(LONGEST_PAUSE)
            }
            Outcome::Stalled(..) => return,
        };
        let due = Instant::now() + wait;
        self.queue.push(key.clone(), Lane::Background, due, None);
    }
}

/// The store as the API server has it now: metadata and status.
async fn read(
    client: &Client,
    name: &StoreName,
) -> Result<Option<(ObjectMeta, Option<super::SecretStoreStatus>)>, ApiFailure> {
    let client = client.clone();
    match name.kind {
        StoreKind::SecretStore => {
            let api: Api<Raw<SecretStore>> = Api::namespaced(client, &name.namespace);
            let store = within(api.get_opt(&name.name)).await?;
            Ok(store.map(|store| (store.metadata, store.status)))
        }
        StoreKind::ClusterSecretStore => {
            let api: Api<Raw<ClusterSecretStore>> = Api::all(client);
            let store = within(api.get_opt(&name.name)).await?;
            Ok(store.map(|store| (store.metadata, store.status)))
        }
    }
}

/// What a check means. The reasons are those of External Secrets.
fn outcome(checked: Option<Result<(), StoreError>>) -> Outcome {
    match checked {
        None => Outcome::Ready(
            Reason::ValidationUnknown,
            "each namespace uses credentials of its own: they are checked when they are used"
                .to_owned(),
        ),
        Some(Ok(())) => Outcome::Ready(Reason::Valid, "store validated".to_owned()),
        Some(Err(StoreError::Config(why))) => Outcome::Stalled(Reason::InvalidProviderConfig, why),
        Some(Err(error)) => Outcome::Retrying(Reason::ValidationFailed, error.to_string()),
    }
}

/// How often the store wants to be checked: seconds, or a duration as Go writes it.
fn interval(spec: &SecretStoreSpec) -> Option<Duration> {
    let interval = match spec.refresh_interval.as_ref()? {
        IntOrString::Int(seconds) => Duration::from_secs(u64::try_from(*seconds).ok()?),
        IntOrString::String(text) => duration(text)?,
    };
    Some(interval).filter(|interval| !interval.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_fails_is_repeated_unless_the_description_is_at_fault() {
        assert!(outcome(None).is_ready() && outcome(Some(Ok(()))).is_ready());
        let refused = outcome(Some(Err(StoreError::Denied("403".to_owned()))));
        assert!(matches!(
            refused,
            Outcome::Retrying(Reason::ValidationFailed, _)
        ));
        let broken = outcome(Some(Err(StoreError::Config("no auth".to_owned()))));
        assert!(matches!(
            broken,
            Outcome::Stalled(Reason::InvalidProviderConfig, _)
        ));
    }

    #[test]
    fn a_store_says_how_often_it_is_checked() {
        let at = |interval| {
            let spec = SecretStoreSpec {
                refresh_interval: interval,
                ..SecretStoreSpec::default()
            };
            super::interval(&spec)
        };
        let minute = Some(Duration::from_mins(1));
        assert_eq!(at(Some(IntOrString::Int(60))), minute);
        assert_eq!(at(Some(IntOrString::String("1m".to_owned()))), minute);
        for none in [
            None,
            Some(IntOrString::Int(0)),
            Some(IntOrString::String("0s".to_owned())),
        ] {
            assert_eq!(at(none), None);
        }
    }
}
