//! Secrets and keys that workloads need and nothing in the tree makes.

use sealkit_core::lint::{Allowed, FileKind, Finding, Rule};
use sealkit_core::references::{Found, Graph, find};

use super::targets::{self, Content, Targets};
use super::{Findings, Located};
use crate::error::Result;
use crate::files::parallel;

/// Adds what is missing. `external` are patterns of Secrets that something else makes.
pub(super) fn add(findings: &mut Findings, targets: &Targets, external: &[String]) -> Result<()> {
    let mut graph = Graph::default();
    for pattern in external {
        graph.add_external(pattern);
    }
    let numbers: Vec<usize> = (0..targets.all.len()).collect();
    let read = |number: &usize| -> Result<Found> {
        let target = &targets.all[*number];
        if targets::kind(&target.path) == FileKind::Text {
            return Ok(Found::default());
        }
        let Content::Bytes(bytes) = targets::read(target)? else {
            return Ok(Found::default());
        };
        let text = String::from_utf8_lossy(&bytes);
        Ok(find(&text, *number, &|name| targets.beside(target, name)))
    };
    parallel::for_each(&numbers, read, |_, found| -> Result<()> {
        graph.add(found?);
        Ok(())
    })?;
    for missing in graph.missing() {
        let target = &targets.all[missing.needed.file];
        let Content::Bytes(bytes) = targets::read(target)? else {
            continue;
        };
        let place = missing.needed.place;
        if Allowed::of(&String::from_utf8_lossy(&bytes)).holds(place.line) {
            continue;
        }
        let mut finding = Finding::new(Rule::MissingReference, place, missing.message(), &[]);
        finding.object = Some(missing.needed.object.title());
        finding.keys = missing.needed.key.clone().into_iter().collect();
        findings.all.push(Located {
            shown: target.shown.clone(),
            path: target.path.clone(),
            finding,
        });
    }
    findings.all.sort_by(|one, other| {
        let place = |located: &Located| (located.finding.place, located.finding.rule);
        (&one.shown, place(one)).cmp(&(&other.shown, place(other)))
    });
    Ok(())
}
