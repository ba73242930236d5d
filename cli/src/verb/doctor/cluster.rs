//! What can be wrong in a cluster, or between it and the repository.

use kube::ResourceExt as _;
use sealkit_core::api::{KeyState, Reason, SealingKey};
use sealkit_core::keys::Recipient;
use sealkit_core::names::printable;

use super::repository::KEY_FILE;
use super::{DoctorArgs, Report};
use crate::args::GlobalArgs;
use crate::cluster::contexts;
use crate::cluster::{
    Account, Cluster, Grant, Leader, ObjectState, Unwatched, age_in_days, is_ready,
};
use crate::recipients::config::Config;
use crate::recipients::names::named;
use crate::recipients::trust::Wish;
use crate::terminal::{quoted, safe};

/// A key that is older ought to be rotated.
const OLD_DAYS: i64 = 365;

/// Rights that only the controller needs, and that not every user should have.
const NOT_FOR_EVERYBODY: [(&str, &str, &str); 4] = [
    ("get", "", "secrets"),
    ("patch", "", "configmaps"),
    ("patch", "sealkit.dev", "sealingkeys"),
    ("create", "sealkit.dev", "rewraprequests"),
];

/// Looks at a cluster; `named` is its name in the config, with the config.
pub(crate) fn observe(
    report: &mut Report,
    place: &str,
    context: Option<&str>,
    named: Option<(&str, &Config)>,
    args: &DoctorArgs,
    global: &GlobalArgs,
) {
    let connected = Cluster::connect(global, context)
        .and_then(|cluster| cluster.sealing_keys().map(|keys| (cluster, keys)));
    let (cluster, keys) = match connected {
        Ok(both) => both,
        Err(error) => {
            return report.failed(
                place,
                "Unreachable",
                &error,
                "is it running, and is this the right context?",
            );
        }
    };
    report.good += 1;
    if let Some((name, config)) = named
        && let Err(error) = contexts::check(&cluster, config, name)
    {
        return report.failed(place, "WrongCluster", &error, "is this the right context?");
    }
    let doctor = Doctor {
        place,
        context: quoted(cluster.context()),
        system: &args.system_namespace,
        cluster: &cluster,
    };
    doctor.controller(report);
    doctor.keys(report, &keys, named);
    doctor.objects(report, &keys, global);
    doctor.external(report, global.namespace.as_deref());
    if let Some((name, config)) = named {
        doctor.trusted(report, name, config);
    }
    doctor.rights(report);
}

/// Who looks at a cluster.
pub(super) struct Doctor<'a> {
    pub(super) place: &'a str,
    pub(super) context: String,
    pub(super) system: &'a str,
    pub(super) cluster: &'a Cluster,
}

impl Doctor<'_> {
    fn controller(&self, report: &mut Report) {
        let pods = [format!(
            "kubectl --context {} -n {} get pods,lease",
            self.context, self.system
        )];
        match self.cluster.leader(self.system) {
            Err(_) => report.note(self.place, "controller not checked: you lack the right to read its lease"),
            Ok(leader) => report.check(
                self.place,
                leader == Leader::Alive,
                "NoController",
                || match leader {
                    Leader::None => "no controller has ever held the lease".to_owned(),
                    _ => "the controller does not renew its lease: it is not running, or cannot reach the API server".to_owned(),
                },
                &pods,
            ),
        }
    }

    fn keys(&self, report: &mut Report, keys: &[SealingKey], named: Option<(&str, &Config)>) {
        for key in keys.iter().filter(|key| !is_ready(key)) {
            self.not_ready(report, key);
        }
        let active = |key: &&SealingKey| {
            let state = key.status.as_ref().and_then(|status| status.state);
            state == Some(KeyState::Active) && is_ready(key)
        };
        let (place, context) = (self.place, &self.context);
        let Some(newest) = keys.iter().find(active) else {
            let detail = "no sealing key is Active and Ready: nothing can be sealed".to_owned();
            let mend = [format!("seal keys list --context {context}")];
            return report.trouble(place, "NoActiveKey", detail, &mend);
        };
        let days = age_in_days(newest).unwrap_or_default();
        let rotate = [format!("seal keys rotate --context {context}")];
        report.check(
            place,
            days <= OLD_DAYS,
            "OldKey",
            || format!("the key is {days} days old"),
            &rotate,
        );
        if let Some((name, config)) = named {
            self.recipient_file(report, newest, name, config);
        }
    }

    fn not_ready(&self, report: &mut Report, key: &SealingKey) {
        let conditions = key.status.iter().flat_map(|status| &status.conditions);
        let said = conditions.last().map(|last| safe(&last.message));
        let detail = format!(
            "SealingKey {} is not Ready: {}",
            printable(&key.name_any()),
            said.unwrap_or_default()
        );
        let context = &self.context;
        let is_lost = key.status.iter().flat_map(|status| &status.conditions);
        let mend = if is_lost
            .clone()
            .any(|condition| condition.reason == Reason::IdentityMissing.name())
        {
            vec![
                format!(
                    "seal keys restore --context {context} -i RECOVERY_KEY BACKUP   # if there is a backup"
                ),
                format!(
                    "seal keys rotate --context {context}                           # otherwise"
                ),
                "seal reseal -i RECOVERY_KEY, commit, and let the cluster apply it".to_owned(),
            ]
        } else {
            vec![format!(
                "kubectl --context {context} describe sealingkeys.sealkit.dev {}",
                quoted(&key.name_any())
            )]
        };
        report.trouble(self.place, "KeyNotReady", detail, &mend);
    }

    /// Does the repository seal to the key that the cluster wants?
    fn recipient_file(
        &self,
        report: &mut Report,
        newest: &SealingKey,
        name: &str,
        config: &Config,
    ) {
        let status = newest.status.as_ref();
        let recipient = status.and_then(|status| status.recipient.as_ref());
        let recipient: Option<Recipient> = recipient.and_then(|text| text.parse().ok());
        // What cannot be read is found elsewhere.
        let (Some(recipient), Ok(recipients)) = (recipient, config.recipients(name)) else {
            return;
        };
        let file = config.recipient_files(name).unwrap_or_default();
        let file = file.first().map(|path| {
            let path = path.strip_prefix(config.root()).unwrap_or(path);
            quoted(&path.to_string_lossy())
        });
        let context = &self.context;
        let mend = [format!(
            "seal keys fetch --context {context} -w {}, then `seal reseal --context {context}`",
            file.unwrap_or_default()
        )];
        report.check(
            self.place,
            recipients.contains(&recipient),
            "OutOfDate",
            || {
                let prints: Vec<_> = recipients.iter().map(Recipient::fingerprint).collect();
                format!(
                    "the cluster seals to {}, but the repository to {}",
                    recipient.fingerprint().short(),
                    named(&prints)
                )
            },
            &mend,
        );
    }

    fn objects(&self, report: &mut Report, keys: &[SealingKey], global: &GlobalArgs) {
        let (place, context) = (self.place, &self.context);
        let objects = match self.cluster.objects(global.namespace.as_deref()) {
            Ok(objects) => objects,
            Err(error) => return report.note(place, &format!("objects not checked: {error}")),
        };
        self.unwatched(report, &objects);
        let waiting = objects.iter().filter(|object| !object.ready).count();
        report.check(
            place,
            waiting == 0,
            "NotReady",
            || format!("{waiting} of {} SealedSecrets are not Ready", objects.len()),
            &[format!("seal status --context {context}")],
        );
        let stale = objects.iter().filter(|object| object.needs_reseal).count();
        report.check(
            place,
            stale == 0,
            "NeedsReseal",
            || {
                format!(
                    "{stale} of {} SealedSecrets are not sealed to the newest key",
                    objects.len()
                )
            },
            &[format!(
                "seal reseal --context {context}, commit, and let the cluster apply it"
            )],
        );
        if global.namespace.is_some() {
            // What other namespaces need is not known.
            return;
        }
        let unneeded = |key: &&SealingKey| {
            let status = key.status.clone().unwrap_or_default();
            let needed = |print: &String| {
                objects
                    .iter()
                    .any(|object| object.sealed_to.contains(print))
            };
            status.state == Some(KeyState::DecryptOnly)
                && status.fingerprint.is_some_and(|print| !needed(&print))
        };
        let names: Vec<String> = keys
            .iter()
            .filter(unneeded)
            .map(|key| printable(&key.name_any()))
            .collect();
        if !names.is_empty() {
            let detail = format!(
                "no object needs {} any more: once you will not apply older commits again, run `seal keys retire --context {context} NAME`",
                names.join(", ")
            );
            report.note(place, &detail);
        }
    }

    /// Namespaces that the controller does not watch, with objects or without.
    fn unwatched(&self, report: &mut Report, objects: &[ObjectState]) {
        let used = objects.iter().map(|object| object.namespace.as_str());
        match self.cluster.unwatched(self.system, &used.collect()) {
            Err(error) => {
                report.note(
                    self.place,
                    &format!("watched namespaces not checked: {error}"),
                );
            }
            Ok(found) if found.is_empty() => report.good += 1,
            Ok(found) => {
                for Unwatched {
                    namespace,
                    detail,
                    mend,
                } in found
                {
                    let detail = format!("namespace {} is not watched: {detail}", safe(&namespace));
                    report.trouble(self.place, "NotWatched", detail, &mend);
                }
            }
        }
    }

    fn trusted(&self, report: &mut Report, name: &str, config: &Config) {
        let wish = match Wish::of(config, Some(name)) {
            Ok(wish) => wish,
            Err(error) => return report.failed(self.place, "BadKeyFile", &error, KEY_FILE),
        };
        let old = match self.cluster.trusted(self.system) {
            Ok(old) => old,
            Err(error) => {
                return report.note(
                    self.place,
                    &format!("trusted recipients not checked: {error}"),
                );
            }
        };
        let mend = [format!("seal keys trust --context {}", self.context)];
        match wish.merged(&old.data, false) {
            Err(error) => report.failed(self.place, "TrustedRecipients", &error, &mend[0]),
            Ok(data) => report.check(
                self.place,
                data == old.data,
                "TrustedRecipients",
                || "the cluster does not know all recipients of the repository: it cannot reseal to them".to_owned(),
                &mend,
            ),
        }
    }

    fn rights(&self, report: &mut Report) {
        for (verb, group, resource) in NOT_FOR_EVERYBODY {
            let grant = Grant {
                verb,
                group,
                resource,
                namespace: self.system,
            };
            match self.cluster.may(&Account::everybody(), grant) {
                Err(_) => {
                    return report.note(self.place, "rights not checked: you lack the right to create SubjectAccessReviews");
                }
                Ok(may) => report.check(
                    self.place,
                    !may,
                    "TooManyRights",
                    || format!("every authenticated user may {verb} {resource} in {}", self.system),
                    &[format!("kubectl --context {} get clusterrolebindings -o wide | grep system:authenticated", self.context)],
                ),
            }
        }
    }
}
