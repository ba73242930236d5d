//! Which namespaces the controller watches, by its Deployment and its rights.

use std::collections::BTreeSet;

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use sealkit_core::api::watch_command;
use serde::Serialize;
use serde_json::Value;

use super::objects::{Account, Grant};
use super::{CONTROLLER, Cluster};
use crate::error::Result;
use crate::terminal::quoted;

/// The variable and the flag of the controller that name its namespaces.
const VARIABLE: &str = "SEALKIT_WATCH_NAMESPACES";
const FLAG: &str = "--watch-namespaces";

/// A namespace with objects that no controller opens, or one that the controller should watch and
/// may not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Unwatched {
    /// Which one.
    pub namespace: String,
    /// What is wrong.
    pub detail: String,
    /// The commands that mend it.
    pub mend: Vec<String>,
}

impl Cluster {
    /// The namespaces that are not watched: those of `used` that the controller is not told to watch,
    /// and those that it may not. `system` is the controller's namespace. An error if the caller may
    /// not ask; nothing if there is no Deployment to ask, or if it watches the whole cluster.
    pub fn unwatched(&self, system: &str, used: &BTreeSet<&str>) -> Result<Vec<Unwatched>> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), system, &kind);
        let forbidden = "not allowed to read Deployments";
        let Some(deployment) = self.call(api.get_opt(CONTROLLER), forbidden, "")? else {
            return Ok(Vec::new());
        };
        let Some(named) = named(&deployment.data) else {
            return Ok(Vec::new());
        };
        let context = quoted(self.context());
        let watch = |namespace: &str| {
            let command = watch_command(&quoted(namespace));
            command.replacen("kubectl", &format!("kubectl --context {context}"), 1)
        };
        let mut found = Vec::new();
        for namespace in used.iter().filter(|used| !named.contains(**used)) {
            let all: Vec<&str> = named
                .iter()
                .map(String::as_str)
                .chain([*namespace])
                .collect();
            found.push(Unwatched {
                namespace: (*namespace).to_owned(),
                detail: format!("{VARIABLE} of the controller does not name it"),
                mend: vec![
                    watch(namespace),
                    format!(
                        "kubectl --context {context} -n {system} set env deployment/{CONTROLLER} {VARIABLE}={}",
                        quoted(&all.join(","))
                    ),
                ],
            });
        }
        let account = deployment
            .data
            .pointer("/spec/template/spec/serviceAccountName");
        let account = account.and_then(Value::as_str).unwrap_or("default");
        let account = Account::of_service(system, account);
        for namespace in named {
            let may = |group, resource| {
                let (verb, namespace) = ("list", namespace.as_str());
                let grant = Grant {
                    verb,
                    group,
                    resource,
                    namespace,
                };
                self.may(&account, grant)
            };
            if may("", "secrets")? && may("sealkit.dev", "sealedsecrets")? {
                continue;
            }
            found.push(Unwatched {
                detail: "the controller has no right to watch it: its Role is missing, or the namespace is gone".to_owned(),
                mend: vec![watch(&namespace)],
                namespace,
            });
        }
        Ok(found)
    }
}

/// The namespaces that a Deployment names; `None` if it watches the whole cluster.
fn named(deployment: &Value) -> Option<BTreeSet<String>> {
    let containers = deployment
        .pointer("/spec/template/spec/containers")?
        .as_array()?;
    let lists = |field: &'static str| {
        let lists = containers
            .iter()
            .filter_map(move |container| container[field].as_array());
        lists.flatten()
    };
    let variables = lists("env").filter(|variable| variable["name"] == VARIABLE);
    let values = variables.filter_map(|variable| variable["value"].as_str());
    let arguments: Vec<&str> = lists("args").filter_map(Value::as_str).collect();
    let flags = arguments.iter().enumerate().filter_map(|(at, argument)| {
        let rest = argument.strip_prefix(FLAG)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value),
            None if rest.is_empty() => arguments.get(at + 1).copied(),
            None => None,
        }
    });
    let names = values.chain(flags).flat_map(|list| list.split(','));
    let names: BTreeSet<String> = names
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    Some(names).filter(|names| !names.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_deployment_names_namespaces_by_variable_or_flag() {
        let named = |container: &Value| {
            let pod = json!({"spec": {"containers": [container]}});
            let names = named(&json!({"spec": {"template": pod}}));
            names.map(|names| names.into_iter().collect::<Vec<_>>())
        };
        let both = Some(vec!["a".to_owned(), "b".to_owned()]);
        let variable = |value: &str| json!({"env": [{"name": VARIABLE, "value": value}]});
        assert_eq!(named(&variable("a, b")), both);
        assert_eq!(named(&variable("")), None);
        assert_eq!(named(&json!({"args": ["--watch-namespaces=a,b"]})), both);
        assert_eq!(named(&json!({"args": ["--watch-namespaces", "b,a"]})), both);
        assert_eq!(
            named(&json!({"args": ["--watch-namespaces-of", "a"]})),
            None
        );
        assert_eq!(named(&json!({})), None);
    }
}
