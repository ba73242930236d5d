//! The worst legal objects that we could think of, each in its own direction, and mixed.

use std::collections::BTreeMap;

use age_core::format::Stanza;
use sealkit_core::keys::{Fingerprint, Identity, KeyRing, KeyType, Recipient};
use sealkit_core::sealed::limits;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::forge::{Forge, Shape};
use crate::Result;

/// A kind of bad object.
pub struct Case {
    /// What it is.
    pub name: &'static str,
    /// Makes one.
    pub build: fn() -> Result<Object>,
}

/// A bad object.
pub struct Object {
    /// Compact JSON.
    pub text: String,
    /// The keys that open it.
    pub ring: KeyRing,
    /// How many values it has.
    pub opens: usize,
}

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        name: "64 hybrid envelopes, each tries 3 held keys, the rest small values",
        build: || {
            envelopes(&Plan {
                recipients: 3,
                ..Plan::new(KeyType::Hybrid, 64)
            })
        },
    },
    Case {
        name: "64 hybrid envelopes to 8 recipients, each tries 3 held keys",
        build: || {
            envelopes(&Plan {
                recipients: 8,
                ..Plan::new(KeyType::Hybrid, 64)
            })
        },
    },
    Case {
        name: "17 hybrid envelopes to 32 recipients, each tries 3 held keys",
        build: || {
            envelopes(&Plan {
                recipients: 32,
                ..Plan::new(KeyType::Hybrid, 17)
            })
        },
    },
    Case {
        name: "64 classic envelopes to 32 recipients, each tries 3 held keys",
        build: || {
            envelopes(&Plan {
                recipients: 32,
                ..Plan::new(KeyType::Classic, 64)
            })
        },
    },
    Case {
        name: "64 hybrid envelopes of 64 stanzas with 3,900 one-letter arguments",
        build: || {
            let grease = (60, 65, 0);
            envelopes(&Plan {
                recipients: 3,
                grease,
                ..Plan::new(KeyType::Hybrid, 64)
            })
        },
    },
    Case {
        name: "6 hybrid envelopes, headers of 128 KiB, 62,000 one-letter arguments each",
        build: || {
            let grease = (60, 1_037, 0);
            envelopes(&Plan {
                recipients: 3,
                grease,
                ..Plan::new(KeyType::Hybrid, 6)
            })
        },
    },
    Case {
        name: "6 hybrid envelopes, headers of 128 KiB, long stanza bodies",
        build: || {
            let grease = (60, 0, 1_540);
            envelopes(&Plan {
                recipients: 3,
                grease,
                ..Plan::new(KeyType::Hybrid, 6)
            })
        },
    },
    Case {
        name: "thousands of small values",
        build: || values(12),
    },
    Case {
        name: "thousands of values under long names",
        build: || values(253),
    },
    Case {
        name: "one value of 800 KB",
        build: one_large_value,
    },
    Case {
        name: "a template of 590,000 numbers",
        build: template,
    },
    Case {
        name: "64 hybrid envelopes to 8 recipients, each tries 8 held keys",
        build: || {
            let tries = 8;
            envelopes(&Plan {
                recipients: 8,
                tries,
                ..Plan::new(KeyType::Hybrid, 64)
            })
        },
    },
];

/// How many keys a ring holds, as after two rotations.
const HELD: usize = 3;

struct Plan {
    key_type: KeyType,
    envelopes: usize,
    recipients: usize,
    /// Held keys that hints name; the last of them opens.
    tries: usize,
    /// Stanzas of grease, one-letter arguments of each, bytes of the body of each.
    grease: (usize, usize, usize),
}

impl Plan {
    fn new(key_type: KeyType, envelopes: usize) -> Self {
        Self {
            key_type,
            envelopes,
            recipients: HELD,
            tries: HELD,
            grease: (0, 0, 0),
        }
    }
}

/// Envelopes whose first hints name held keys that do not open their stanzas; the last one does.
fn envelopes(plan: &Plan) -> Result<Object> {
    let generate = |count: usize| -> Vec<Identity> {
        (0..count)
            .map(|_| Identity::generate(plan.key_type))
            .collect()
    };
    let held = generate(plan.tries);
    let others = generate(plan.recipients - 1);
    let Some(opener) = held.last() else {
        return Err("no key is held".into());
    };
    let recipients: Vec<&Recipient> = others
        .iter()
        .chain([opener])
        .map(Identity::recipient)
        .collect();
    let mut hints: Vec<Fingerprint> = recipients.iter().map(|r| r.fingerprint()).collect();
    for (hint, liar) in hints.iter_mut().zip(&held[..plan.tries - 1]) {
        *hint = liar.fingerprint();
    }
    let (stanzas, arguments, body) = plan.grease;
    let grease: Vec<Stanza> = (0..stanzas)
        .map(|_| Stanza {
            tag: "x-grease".to_owned(),
            args: vec!["a".to_owned(); arguments],
            body: vec![7; body],
        })
        .collect();
    let shape = Shape {
        recipients: &recipients,
        hints: &hints,
        grease: &grease,
    };
    let mut forge = Forge::default();
    let mut last = None;
    for number in 0..plan.envelopes {
        let envelope = forge.envelope(&shape)?;
        forge.value(&envelope, format!("key{number}"))?;
        last = Some(envelope);
    }
    if let Some(envelope) = last {
        forge.fill(&envelope)?;
    }
    Ok(Object {
        text: forge.text(),
        opens: forge.len(),
        ring: KeyRing::new(held)?,
    })
}

/// As many small values as fit, under names of this length.
fn values(name: usize) -> Result<Object> {
    const VALUE: usize = 176;
    let count = (limits::OBJECT_BYTES - 4_000) / (name + VALUE + 6);
    let values: BTreeMap<_, _> = (0..count)
        .map(|number| {
            (
                format!("{number:0>name$}"),
                Zeroizing::new(b"password".to_vec()),
            )
        })
        .collect();
    honest(&values, None)
}

fn one_large_value() -> Result<Object> {
    let value = Zeroizing::new(vec![b'x'; 800_000]);
    honest(&BTreeMap::from([("blob".to_owned(), value)]), None)
}

/// Opening does not look at the template, but counts its bytes.
fn template() -> Result<Object> {
    let value = Zeroizing::new(b"password".to_vec());
    let template = json!(vec![1; 590_000]);
    honest(&BTreeMap::from([("key".to_owned(), value)]), Some(template))
}

fn honest(
    values: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    template: Option<Value>,
) -> Result<Object> {
    let held: Vec<Identity> = (0..HELD)
        .map(|_| Identity::generate(KeyType::Hybrid))
        .collect();
    let mut object = super::seal(values, held.last())?;
    if let Some(template) = template {
        object["spec"]["template"] = template;
    }
    Ok(Object {
        text: object.to_string(),
        ring: KeyRing::new(held)?,
        opens: values.len(),
    })
}
