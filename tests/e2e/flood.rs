//! A flood of random changes to objects and, behind the controller's back, to Secrets; and the
//! judgement of what became of them.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::time::Duration;

use sealkit_tests::canary::unique_value;
use sealkit_tests::namespace::{Namespace, data, says};
use sealkit_tests::secret_watch::SecretWatch;
use sealkit_tests::wait::{wait_until, wait_within};
use serde_json::{Value, json};

/// `SplitMix64`: the same numbers for the same seed, everywhere.
pub struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to but not including `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The flood in one namespace.
pub struct Flood {
    /// The dice; `SEALKIT_SEED` repeats a run.
    pub numbers: Numbers,
    shop: Namespace,
    objects: u64,
    seed: u64,
    /// What each object holds in the end; `None` once it is deleted.
    wanted: BTreeMap<String, Option<String>>,
    /// Type and value of every generation of each object.
    ever: BTreeMap<String, BTreeSet<(String, String)>>,
    others: Vec<Value>,
    watch: SecretWatch,
}

const DRIFT: [(&str, &str); 2] = [("password", "foo"), ("intruder", "foo")];

impl Flood {
    /// A flood over so many objects, beside five Secrets of somebody else.
    pub fn new(shop: &Namespace, objects: u64) -> Self {
        let seed =
            env::var("SEALKIT_SEED").map_or(20_260_117, |seed| seed.parse().expect("a number"));
        println!("SEALKIT_SEED={seed}");
        let other = |index: u64| {
            let labels = if index.is_multiple_of(2) {
                json!({})
            } else {
                json!({"sealkit.dev/managed": "true"})
            };
            let secret = json!({
                "apiVersion": "v1", "kind": "Secret", "data": data(&[("a", "b")]),
                "metadata": {"name": format!("other-{index}"), "labels": labels},
            });
            shop.api.create(&shop.secrets_path(), &secret).unwrap()
        };
        Self {
            numbers: Numbers(seed),
            watch: SecretWatch::start(shop),
            shop: shop.clone(),
            objects,
            seed,
            wanted: BTreeMap::new(),
            ever: BTreeMap::new(),
            others: (0..5).map(other).collect(),
        }
    }

    /// Ten to thirty changes.
    pub fn changes(&mut self) {
        for _ in 0..10 + self.numbers.below(20) {
            self.change();
        }
    }

    fn change(&mut self) {
        let shop = &self.shop;
        let name = format!("db-{}", self.numbers.below(self.objects));
        let exists = self.wanted.get(&name).is_some_and(Option::is_some);
        // Drift may hit a Secret that is not there (any more).
        let patch = |patch: Value| drop(shop.api.merge(&shop.secret_path(&name), &patch));
        match self.numbers.below(10) {
            0 if exists => {
                shop.delete_sealed(&name);
                self.wanted.insert(name, None);
            }
            1 => drop(shop.api.delete(&shop.secret_path(&name))),
            2 => patch(json!({"data": data(&DRIFT)})),
            3 => patch(json!({"metadata": {"labels": {"sealkit.dev/managed": null}}})),
            other => {
                let value = unique_value();
                let draft = shop.draft(&name).value("password", &value);
                // Now and then another type: deletion and creation.
                let type_ = if other == 9 {
                    "example.com/odd"
                } else {
                    "Opaque"
                };
                let draft = draft.template(json!({"type": type_}));
                shop.apply(&draft.manifest());
                let generation = (type_.to_owned(), value.clone());
                self.ever
                    .entry(name.clone())
                    .or_default()
                    .insert(generation);
                self.wanted.insert(name, Some(value));
            }
        }
    }

    /// Every Secret is right in the end, none ever was wrong or half-written, nothing else was
    /// touched.
    pub fn judge(&self) {
        let (shop, seed) = (&self.shop, self.seed);
        let (alive, dead): (Vec<_>, Vec<_>) =
            self.wanted.iter().partition(|(_, value)| value.is_some());
        let (count, gone) = (alive.len(), dead.len());
        assert!(count > 10 && gone > 0, "{count} and {gone} objects");
        for (name, value) in alive {
            let right = data(&[("password", value.as_deref().unwrap())]);
            wait_until(&format!("{name} is right (seed {seed})"), || {
                says(&shop.sealed(name), "True", "Opened")
                    && shop
                        .secret(name)
                        .is_some_and(|secret| secret["data"] == right)
            });
        }
        wait_within(
            Duration::from_secs(120),
            "Secrets of deleted objects go",
            || {
                dead.iter()
                    .all(|(name, _)| shop.secret(name).is_none())
                    .then_some(())
            },
        );
        for other in &self.others {
            let name = other["metadata"]["name"].as_str().unwrap();
            assert_eq!(shop.secret(name).as_ref(), Some(other));
        }
        let count = shop.api.list(&shop.secrets_path()).len();
        let expected = self.wanted.values().flatten().count() + self.others.len();
        assert_eq!(count, expected, "and there are no other Secrets");

        let mut versions = 0;
        for (name, ever) in &self.ever {
            for secret in self.watch.versions(name) {
                versions += 1;
                let whole = ever.iter().any(|(type_, value)| {
                    secret["type"] == *type_ && secret["data"] == data(&[("password", value)])
                });
                let drifted = secret["data"] == data(&DRIFT);
                assert!(
                    whole || drifted,
                    "{name} was wrong (seed {seed}): {secret:#}"
                );
            }
        }
        println!("{versions} versions of Secrets were seen, each of them whole");
        assert!(versions > 50, "{versions}");
    }
}
