//! What sealed values are bound to.

use std::fmt;
use std::str::FromStr;

use crate::names;

/// What a sealed value is bound to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Bound to namespace and name. The default.
    #[default]
    Strict,
    /// Bound to the namespace; the object may be renamed.
    NamespaceWide,
    /// Bound to nothing: every tenant of the cluster may use it.
    ClusterWide,
}

impl Scope {
    /// The word in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::NamespaceWide => "namespace-wide",
            Self::ClusterWide => "cluster-wide",
        }
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Strict, Self::NamespaceWide, Self::ClusterWide]
            .into_iter()
            .find(|scope| scope.name() == text)
            .ok_or(())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The object that values are sealed for: the scope, and the names that the scope binds. It cannot
/// be wrong once built: names that the scope does not bind are empty, and the others are valid.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    scope: Scope,
    namespace: String,
    name: String,
}

/// A name that the scope binds is missing or is not a Kubernetes name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// The namespace.
    #[error("scope {0} binds the namespace, but {1:?} is not the name of a namespace")]
    Namespace(Scope, String),
    /// The object's name.
    #[error("scope strict binds the name, but {0:?} is not the name of a Secret")]
    Name(String),
}

impl Context {
    /// The context of an object of this namespace and name. Names that `scope` does not bind may be
    /// anything.
    pub fn new(scope: Scope, namespace: &str, name: &str) -> Result<Self, ContextError> {
        let bound_namespace = if scope == Scope::ClusterWide {
            ""
        } else {
            namespace
        };
        let bound_name = if scope == Scope::Strict { name } else { "" };
        if scope != Scope::ClusterWide && !names::is_dns_label(namespace) {
            return Err(ContextError::Namespace(scope, names::printable(namespace)));
        }
        if scope == Scope::Strict && !names::is_dns_subdomain(name) {
            return Err(ContextError::Name(names::printable(name)));
        }
        Ok(Self {
            scope,
            namespace: bound_namespace.to_owned(),
            name: bound_name.to_owned(),
        })
    }

    /// The scope.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The bound namespace, or empty.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The bound name, or empty.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope {
            Scope::Strict => write!(f, "{}/{} (strict)", self.namespace, self.name),
            Scope::NamespaceWide => write!(f, "namespace {} (namespace-wide)", self.namespace),
            Scope::ClusterWide => f.write_str("any object (cluster-wide)"),
        }
    }
}
