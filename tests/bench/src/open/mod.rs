//! CPU of opening: an everyday object against RSA-4096, and the worst objects that are legal.

mod forge;
mod worst;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use sealkit_core::keys::{Identity, KeyRing, KeyType, RecipientSet};
use sealkit_core::sealed::{self, Context, Scope, SealedObject, Search, limits};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::binaries::{self, Peers};
use crate::clock::{cpu_of, median};
use crate::report::{Figure, Quantity, Target};
use crate::{Result, progress};

const PART: &str = "Opening";
const WORST_PART: &str = "Parsing and opening the worst legal objects, CPU";
/// Namespace of all objects.
const NAMESPACE: &str = "bench";
/// Name of all objects.
const NAME: &str = "object";
/// Values of the everyday object.
const VALUES: usize = 10;
/// CPU that no legal object may need, on the machine where this limit was set.
const WORST: Duration = Duration::from_millis(50);
/// The same limit on any machine: there, the everyday object of the peer took 41.6 ms.
const WORST_SHARE: f64 = 1.2;

/// Measures both; the peer only if it is given.
pub fn run(runs: usize, peers: Option<&Peers>) -> Result<Vec<Figure>> {
    let (mut figures, peer) = everyday(runs, peers)?;
    figures.extend(worst_objects(runs, peer)?);
    Ok(figures)
}

/// With the time of the peer.
fn everyday(runs: usize, peers: Option<&Peers>) -> Result<(Vec<Figure>, Option<Duration>)> {
    progress(format_args!(
        "opening an object of {VALUES} values, {runs} times"
    ));
    let object = |key_type| -> Result<Duration> {
        let identity = Identity::generate(key_type);
        let values = (0..VALUES)
            .map(|number| (format!("KEY_{number}"), Zeroizing::new(vec![b'x'; 32])))
            .collect();
        let object = seal(&values, [&identity])?;
        let ring = KeyRing::new([identity])?;
        Ok(measure(&object, &ring, runs * 50)?.open)
    };
    let hybrid = object(KeyType::Hybrid)?;
    let classic = object(KeyType::Classic)?;
    let what = format!("opening {VALUES} values, hybrid, one recipient, CPU");
    let mut time_of_peer = None;
    let mut figures = match peers {
        Some(peers) => {
            progress("opening as Sealed Secrets does");
            let mut rsa = Command::new(&peers.rsa);
            rsa.args([
                "open",
                "-values",
                &VALUES.to_string(),
                "-rounds",
                &runs.to_string(),
            ]);
            let answer: Value = serde_json::from_str(&binaries::run(&mut rsa)?)?;
            let nanoseconds = answer["cpuNanoseconds"]
                .as_u64()
                .ok_or("rsa printed no time")?;
            let peer = Duration::from_nanos(nanoseconds);
            time_of_peer = Some(peer);
            let target = Some(Target::TimesLess(200.0));
            vec![Figure::against(
                PART,
                what,
                hybrid.into(),
                peer.into(),
                target,
            )]
        }
        None => vec![Figure::note(PART, what, hybrid.into())],
    };
    let what = format!("opening {VALUES} values, classic X25519, one recipient, CPU");
    figures.push(Figure::note(PART, what, classic.into()));
    Ok((figures, time_of_peer))
}

fn worst_objects(runs: usize, peer: Option<Duration>) -> Result<Vec<Figure>> {
    let runs = runs.div_ceil(6).max(1);
    let mut figures = Vec::new();
    for case in worst::CASES {
        progress(format_args!("opening {}", case.name));
        let worst::Object { text, ring, opens } = (case.build)()?;
        if text.len() > limits::OBJECT_BYTES {
            return Err(format!("{} has {} bytes: not legal", case.name, text.len()).into());
        }
        let mut reading = Vec::new();
        let mut object = Value::Null;
        for _ in 0..runs {
            let (read, time) = cpu_of(|| serde_json::from_str(&text));
            object = read?;
            reading.push(time);
        }
        let times = measure(&object, &ring, runs)?;
        if times.values != opens {
            let found = times.values;
            return Err(format!("{} opens to {found} values, not {opens}", case.name).into());
        }
        let what = format!(
            "{}; {} bytes, reading the JSON {} more",
            case.name,
            text.len(),
            Quantity::from(median(reading)),
        );
        let time = times.open.into();
        figures.push(if let Some(peer) = peer {
            let share = Some(Target::AtMostShare(WORST_SHARE));
            Figure::against(WORST_PART, what, time, peer.into(), share)
        } else {
            Figure::limited(WORST_PART, what, time, WORST.into())
        });
    }
    Ok(figures)
}

struct Measured {
    open: Duration,
    values: usize,
}

/// The median CPU time of `SealedObject::parse` and `open`, everything dropped within.
fn measure(object: &Value, ring: &KeyRing, runs: usize) -> Result<Measured> {
    let mut values = 0;
    let mut times = Vec::new();
    for _ in 0..runs.max(1) {
        let (result, time) = cpu_of(|| {
            let parsed = SealedObject::parse(object)?;
            let opened = sealed::open(&parsed, ring, Search::Hinted)?;
            Ok::<_, sealed::OpenError>(opened.values.len())
        });
        values = result?;
        times.push(time);
    }
    Ok(Measured {
        open: median(times),
        values,
    })
}

/// An object as the command line seals it.
fn seal<'a>(
    values: &BTreeMap<String, Zeroizing<Vec<u8>>>,
    identities: impl IntoIterator<Item = &'a Identity>,
) -> Result<Value> {
    let recipients = RecipientSet::new(
        identities
            .into_iter()
            .map(|identity| identity.recipient().clone()),
    )?;
    let context = Context::new(Scope::Strict, NAMESPACE, NAME)?;
    let sealed = sealed::seal(values, &context, &recipients, false)?;
    Ok(manifest(
        json!({sealed.id.as_str(): sealed.envelope}),
        json!(sealed.values),
        Value::Null,
    ))
}

#[expect(clippy::needless_pass_by_value, reason = "built for this call")]
fn manifest(envelopes: Value, values: Value, template: Value) -> Value {
    let mut spec = json!({"envelopes": envelopes, "encryptedData": values});
    if !template.is_null() {
        spec["template"] = template;
    }
    json!({
        "apiVersion": "sealkit.dev/v1beta1",
        "kind": "SealedSecret",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "spec": spec,
    })
}
