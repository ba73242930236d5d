//! Where an object goes: the scope that its values are bound to, its namespace and its name.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use sealkit_core::manifest::Document;
use sealkit_core::names;
use sealkit_core::sealed::{Scope, SealedView};

use crate::error::{CommandError, Result};
use crate::recipients::path_rule::is_wider;
use crate::terminal::Terminal;

/// Where an object goes: what its values are bound to, and its names.
#[derive(Clone, Debug)]
pub(crate) struct SealTarget {
    /// What the values are bound to.
    pub scope: Scope,
    /// Namespace, or empty where the scope does not need it and nobody gave it.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl SealTarget {
    /// Scope and names of an existing object. If it names no namespace, it has the given one.
    pub fn of(document: &Document, elsewhere: &str) -> Result<Self> {
        let scope = scope_of(document)?;
        let (mut namespace, name) = (document.metadata("namespace"), document.metadata("name"));
        if namespace.is_empty() {
            namespace = elsewhere;
        }
        if namespace.is_empty() && scope != Scope::ClusterWide {
            return Err(no_namespace(scope));
        }
        // Nothing is bound to the name then, so that a chart may fill it in.
        let is_open = scope != Scope::Strict && is_filled_in(name);
        if !(is_open || names::is_dns_subdomain(name))
            || !(namespace.is_empty() || names::is_dns_label(namespace))
        {
            return Err(CommandError::input(
                "the SealedSecret has an invalid name or namespace",
            ));
        }
        Ok(Self {
            scope,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Namespace and name for messages.
    pub fn title(&self) -> String {
        if self.namespace.is_empty() {
            self.name.clone()
        } else {
            format!("{}/{}", self.namespace, self.name)
        }
    }
}

/// Is it a name with `{{ actions }}` of a chart, which can be shown and leads nowhere as a path?
fn is_filled_in(name: &str) -> bool {
    let is_harmless = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'/';
    let mut parts = name.split("{{");
    let first = parts.next().unwrap_or_default();
    let rest: Option<Vec<&str>> = parts
        .map(|part| part.split_once("}}").map(|(_, after)| after))
        .collect();
    let filled = rest.map(|rest| [vec![first], rest].concat().join("x"));
    name.bytes().all(is_harmless) && filled.is_some_and(|name| names::is_dns_subdomain(&name))
}

/// The file names no namespace, and nothing else does.
fn no_namespace(scope: Scope) -> CommandError {
    CommandError::input(format_args!(
        "scope {scope} binds values to a namespace, and the SealedSecret in the file names none"
    ))
    .hint(NAMESPACE_HINT)
}

/// How to name a namespace that stands in no file.
pub(crate) const NAMESPACE_HINT: &str = "does Kustomize, Flux, Argo CD or `kubectl -n` set the namespace? then name it with -n NAME, or as `namespace:` of the path's rule in .sealkit.yaml";

/// The scope of an existing object.
pub(crate) fn scope_of(document: &Document) -> Result<Scope> {
    let scope = SealedView::of(&document.object).scope();
    let scope = scope.map_or(Some(Scope::default()), |word| word.as_str()?.parse().ok());
    scope.ok_or_else(|| {
        CommandError::input(
            "the SealedSecret has an unknown scope: use strict, namespace-wide or cluster-wide",
        )
    })
}

/// The scopes on the command line, with what is said of each in the help.
pub(crate) fn scopes() -> impl TypedValueParser<Value = Scope> {
    let values = [
        (Scope::Strict, "Bound to namespace and name"),
        (
            Scope::NamespaceWide,
            "Bound to the namespace; the object can be renamed",
        ),
        (
            Scope::ClusterWide,
            "Bound to nothing: every tenant of the cluster can use them",
        ),
    ];
    PossibleValuesParser::new(
        values.map(|(scope, help)| PossibleValue::new(scope.name()).help(help)),
    )
    .try_map(|word| word.parse::<Scope>().map_err(|()| "no scope"))
}

/// How wide a scope may be for values that go into an object which exists. Its scope came with the
/// file, perhaps by somebody's pull request, and says who can use the new values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScopeLimit {
    /// The scope that the rule of the path wants.
    pub rule: Scope,
    /// What `--scope` says.
    pub flag: Option<Scope>,
}

impl ScopeLimit {
    /// Refuses another scope for the values than the object has, and one that is wider than the
    /// rule's unless the flag says it again.
    pub fn check(self, object: Scope, values: Scope) -> Result<()> {
        if is_wider(object, self.rule) && self.flag != Some(object) {
            return Err(CommandError::input(format_args!(
                "the SealedSecret in the file has scope {object}, but its path has scope {}: more objects could use the new values",
                self.rule
            ))
            .hint("find out who widened the scope and why; if it is wrong, restore the file from Git")
            .hint(format_args!("if it is right, pass --scope {object}, or write that scope into the rule of the path in .sealkit.yaml")));
        }
        let values = self.flag.unwrap_or(values);
        if object == values {
            return Ok(());
        }
        Err(CommandError::input(format_args!(
            "the SealedSecret in the file has scope {object}, but these values are sealed with scope {values}"
        ))
        .hint(format_args!("seal with --scope {object}, or write to a new file")))
    }
}

/// Says what values are sealed for.
pub(crate) fn tell_target(target: &SealTarget, terminal: Terminal) {
    let who = match target.scope {
        Scope::Strict => "",
        Scope::NamespaceWide => ": every object of the namespace can use the values",
        Scope::ClusterWide => ": every object in every namespace can use the values",
    };
    terminal.note(format_args!(
        "sealed for {} with scope {}{who}",
        target.title(),
        target.scope
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_chart_fills_in_leads_nowhere() {
        for name in ["{{ .Release.Name }}-db", "a-{{ .x }}.{{- .y -}}", "{{x}}"] {
            assert!(is_filled_in(name), "{name}");
        }
        for name in [
            "../{{ .x }}",
            "{{ \"/\" }}",
            "{{ .x",
            "{{ .x }}_",
            "{{ \u{1b} }}",
            "-{{ .x }}",
            "a b",
        ] {
            assert!(!is_filled_in(name), "{name}");
        }
    }
}
