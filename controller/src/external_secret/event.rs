//! The events of an ExternalSecret: decided from what was done; pure. The reasons are those of External
//! Secrets, so that what reads them goes on: one for each write of the Secret, and for each failure.

use sealkit_core::api::Reason;

use super::reconcile::Done;
use crate::secret::Op;
use crate::telemetry::EventKind;

/// An event to publish; the message is that of the outcome.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) kind: EventKind,
    pub(super) reason: Reason,
    /// What makes it another event than the last one with this reason.
    pub(super) occasion: String,
}

/// What is to be told of what was done for a generation, if anything. `is_news`: do the conditions say
/// something else than before?
pub(super) fn event(done: &Done, generation: i64, is_news: bool) -> Option<News> {
    let normal = |reason, occasion| {
        Some(News {
            kind: EventKind::Normal,
            reason,
            occasion,
        })
    };
    if let Some((version, op)) = done.written.as_ref().filter(|(_, op)| *op != Op::None) {
        let reason = if *op == Op::Create {
            Reason::Created
        } else {
            Reason::Updated
        };
        return normal(reason, version.resource_version.clone());
    }
    if !is_news {
        return None;
    }
    let occasion = generation.to_string();
    if !done.outcome.is_ready() {
        return Some(News {
            kind: EventKind::Warning,
            reason: Reason::UpdateFailed,
            occasion,
        });
    }
    match done.outcome.reason() {
        Reason::SecretDeleted => normal(Reason::Deleted, occasion),
        _ if done.lacks => normal(Reason::MissingProviderSecret, occasion),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Version;
    use crate::status::Outcome;

    fn ready(reason: Reason) -> Done {
        Done::without(Outcome::Ready(reason, String::new()), None)
    }

    fn told(done: &Done, is_news: bool) -> Option<&'static str> {
        event(done, 3, is_news).map(|news| news.reason.name())
    }

    #[test]
    fn each_write_and_each_failure_is_told_once() {
        let wrote = |op| {
            let version = Version {
                uid: "u".to_owned(),
                resource_version: "7".to_owned(),
            };
            let mut done = ready(Reason::Synced);
            done.written = Some((version, op));
            done
        };
        for is_news in [false, true] {
            assert_eq!(told(&wrote(Op::Create), is_news), Some("Created"));
            assert_eq!(told(&wrote(Op::Patch), is_news), Some("Updated"));
            assert_eq!(told(&wrote(Op::Merge), is_news), Some("Updated"));
            assert_eq!(told(&wrote(Op::None), is_news), None);
        }
        let news = event(&wrote(Op::Patch), 3, false).unwrap();
        assert_eq!(news.occasion, "7", "the next write is another event");
        let failed = Outcome::Retrying(Reason::ProviderError, String::new());
        let failed = Done::without(failed, None);
        assert_eq!(told(&failed, true), Some("UpdateFailed"));
        assert_eq!(told(&failed, false), None);
        assert_eq!(told(&ready(Reason::SecretDeleted), true), Some("Deleted"));
        assert_eq!(told(&ready(Reason::Synced), true), None);
        let mut lacking = wrote(Op::None);
        lacking.lacks = true;
        assert_eq!(told(&lacking, true), Some("MissingProviderSecret"));
        assert_eq!(told(&lacking, false), None);
    }
}
