//! What becomes of the Secret, by its policies and by whether the store has anything; pure.

use sealkit_core::api::Reason;
use sealkit_core::api::external::{CreationPolicy, DeletionPolicy};

use crate::status::Outcome;

/// What becomes of the Secret. The messages are those of External Secrets.
#[derive(Debug, PartialEq)]
pub(super) enum Fate {
    /// It is written.
    Write,
    /// It is deleted.
    Delete,
    /// It stays as it is.
    Stay(Outcome),
}

/// What the status says once the Secret is deleted.
pub(super) const DELETED: &str = "secret deleted due to DeletionPolicy=Delete";
/// What the status says if there is no Secret to merge into.
pub(super) const MISSING: &str = "secret will not be created due to CreationPolicy=Merge";
/// What the status says if the Secret stays although the store has nothing.
pub(super) const RETAINED: &str = "secret retained due to DeletionPolicy=Retain";
/// What the status says once the Secret is right.
pub(super) const SYNCED: &str = "secret synced";

/// Decides. `is_empty` says that the store has nothing: nothing is never written over something,
/// unless deletionPolicy Merge asks to remove the keys.
pub(super) fn fate(creation: CreationPolicy, deletion: DeletionPolicy, is_empty: bool) -> Fate {
    let stays = |what: &str| Fate::Stay(Outcome::Ready(Reason::Synced, what.to_owned()));
    match (is_empty, deletion, creation) {
        (true, DeletionPolicy::Retain, _) => stays(RETAINED),
        (true, DeletionPolicy::Delete, CreationPolicy::Owner) => Fate::Delete,
        (true, DeletionPolicy::Delete, _) => {
            let what = "the store has nothing any more, but deletionPolicy Delete deletes only \
                        Secrets of creationPolicy Owner: the Secret stays as it is";
            Fate::Stay(Outcome::Stalled(Reason::InvalidSpec, what.to_owned()))
        }
        (_, _, CreationPolicy::None) => stays(SYNCED),
        _ => Fate::Write,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_policies_has_its_fate() {
        use CreationPolicy::{CreateOrMerge, Merge, None, Orphan, Owner};
        let policies = [Owner, Orphan, Merge, CreateOrMerge, None];
        let word = |creation, deletion, is_empty| match fate(creation, deletion, is_empty) {
            Fate::Write => "write",
            Fate::Delete => "delete",
            Fate::Stay(Outcome::Ready(..)) => "stay",
            Fate::Stay(_) => "fail",
        };
        for (deletion, is_empty, expected) in [
            (DeletionPolicy::Retain, true, ["stay"; 5]),
            (
                DeletionPolicy::Delete,
                true,
                ["delete", "fail", "fail", "fail", "fail"],
            ),
            (
                DeletionPolicy::Merge,
                true,
                ["write", "write", "write", "write", "stay"],
            ),
            (
                DeletionPolicy::Retain,
                false,
                ["write", "write", "write", "write", "stay"],
            ),
            (
                DeletionPolicy::Delete,
                false,
                ["write", "write", "write", "write", "stay"],
            ),
            (
                DeletionPolicy::Merge,
                false,
                ["write", "write", "write", "write", "stay"],
            ),
        ] {
            let got = policies.map(|creation| word(creation, deletion, is_empty));
            assert_eq!(got, expected, "{deletion:?} {is_empty}");
        }
    }
}
