//! Where an object goes: the scope that its values are bound to, its namespace and its name.

use sealkit_core::manifest::Document;
use sealkit_core::names;
use sealkit_core::sealed::{Scope, SealedView};

use crate::error::{CommandError, Result};

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
    /// Scope and names of an existing object.
    pub fn of(document: &Document) -> Result<Self> {
        let scope = SealedView::of(&document.object).scope();
        let scope = scope.map_or(Some(Scope::default()), |word| word.as_str()?.parse().ok());
        let scope = scope.ok_or_else(|| {
            CommandError::input(
                "the SealedSecret has an unknown scope: use strict, namespace-wide or cluster-wide",
            )
        })?;
        let (namespace, name) = (document.metadata("namespace"), document.metadata("name"));
        if !names::is_dns_subdomain(name)
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
