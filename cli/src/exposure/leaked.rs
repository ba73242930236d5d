//! Which key leaked, and what is open to its finder.

use std::collections::BTreeSet;

use kube::ResourceExt as _;
use sealkit_core::keys::Fingerprint;
use sealkit_core::sealed::age_file_text;
use serde_json::Value;

use crate::cluster::{Cluster, fingerprint_of};
use crate::error::{CommandError, Result};
use crate::recipients::names::{Names, beginning, only, unknown};
use crate::terminal::Session;

/// Which envelopes are open to the finder.
#[derive(Default)]
pub(crate) struct Leaked {
    /// The fingerprint, or its beginning.
    fingerprint: Option<String>,
    classic: bool,
    /// The keys that the config and the cluster know by the word.
    pub(super) known: BTreeSet<Fingerprint>,
}

impl Leaked {
    /// Those of one key.
    pub fn key(fingerprint: Fingerprint) -> Self {
        Self {
            fingerprint: Some(fingerprint.to_string()),
            classic: false,
            known: BTreeSet::from([fingerprint]),
        }
    }

    /// Those of the key that a word means, which may be one of a cluster's, and of all classic keys.
    pub fn meant(word: Option<&str>, classic: bool, session: Session<'_>) -> Result<Self> {
        let Some(word) = word else {
            if !classic {
                return Err(CommandError::usage("no key is named").hint(
                    "give the fingerprint or the name of a key, or --classic for all classic keys",
                ));
            }
            return Ok(Self {
                fingerprint: None,
                classic: true,
                known: BTreeSet::new(),
            });
        };
        let mut of_cluster = Vec::new();
        // Only if it is named: history can be searched far from any cluster.
        if session.global.context.is_some() {
            let keys = Cluster::connect(session.global, None)?.sealing_keys()?;
            if let Some(key) = keys.iter().find(|key| key.name_any() == word) {
                of_cluster.extend(fingerprint_of(key));
            } else {
                let all = keys.iter().filter_map(fingerprint_of);
                of_cluster.extend(Names::here().meant(word, all));
            }
        }
        let mut known = Names::here().meant(word, []);
        known.extend(of_cluster);
        let fingerprint = match (only(word, &known)?, beginning(word)) {
            (Some(known), _) => known.to_string(),
            (None, Some(beginning)) => beginning,
            (None, None) => return Err(unknown(word)),
        };
        Ok(Self {
            fingerprint: Some(fingerprint),
            classic,
            known,
        })
    }

    /// The keys of an envelope that may be meant.
    pub(super) fn named(&self, envelope: &Value) -> Vec<Fingerprint> {
        let hints = envelope.get("recipients").and_then(Value::as_array);
        let hints = hints.into_iter().flatten().filter_map(Value::as_str);
        let meant = |hint: &&str| {
            let leaked = self.fingerprint.as_ref();
            leaked.is_some_and(|leaked| hint.starts_with(leaked.as_str()))
        };
        hints
            .filter(meant)
            .filter_map(|hint| hint.parse().ok())
            .collect()
    }

    /// An envelope that cannot be read counts as exposed.
    pub fn opens(&self, envelope: &Value) -> bool {
        let hints = envelope.get("recipients").and_then(Value::as_array);
        let named = self.fingerprint.as_ref().is_some_and(|leaked| {
            hints.is_none_or(|hints| {
                let hints = hints.iter().map(|hint| hint.as_str());
                hints.into_iter().any(|hint| {
                    hint.is_none_or(|hint| {
                        hint.parse::<Fingerprint>().is_err() || hint.starts_with(leaked.as_str())
                    })
                })
            })
        });
        named || (self.classic && is_classic(envelope))
    }
}

/// Has the age file a classic stanza? One that cannot be read counts as one.
fn is_classic(envelope: &Value) -> bool {
    use base64::Engine as _;
    let file =
        age_file_text(envelope).and_then(|text| base64::prelude::BASE64_STANDARD.decode(text).ok());
    let stanza = b"\n-> X25519 ";
    file.is_none_or(|file| file.windows(stanza.len()).any(|window| window == stanza))
}
