//! `RewrapRequests`, made by hand: what `seal reseal` never asks, and what attackers would.

use serde_json::{Map, Value, json};

use crate::api::{Answer, ApiClient};
use crate::namespace::Namespace;
use crate::wait::wait_for;

/// Where the requests of a namespace are.
pub fn requests_path(namespace: &str) -> String {
    format!("/apis/sealkit.dev/v1beta1/namespaces/{namespace}/rewraprequests")
}

/// Where the list of trusted recipients is.
pub const TRUSTED: &str = "/api/v1/namespaces/sealkit-system/configmaps/sealkit-recipients";

/// The first envelope of a `SealedSecret`, with its id.
pub fn envelope_of(manifest: &Value) -> (String, Value) {
    let envelopes = manifest["spec"]["envelopes"].as_object().unwrap();
    let (id, envelope) = envelopes.iter().next().unwrap();
    (id.clone(), envelope.clone())
}

/// A request for these envelopes.
pub fn request(envelopes: impl IntoIterator<Item = (String, Value)>) -> Value {
    json!({
        "apiVersion": "sealkit.dev/v1beta1", "kind": "RewrapRequest",
        "metadata": {"generateName": "by-hand-"},
        "spec": {"envelopes": Map::from_iter(envelopes)},
    })
}

/// An id of an envelope that nobody has made: one for each number.
pub fn id_of(number: usize) -> String {
    format!("{number:032b}").replace('0', "a").replace('1', "b")
}

/// Creates a request.
pub fn create(api: &ApiClient, namespace: &str, request: &Value) -> Answer {
    api.create(&requests_path(namespace), request)
}

/// Asks for one envelope and waits for what is said of it.
pub fn ask(namespace: &Namespace, id: &str, envelope: &Value) -> Value {
    let request = request([(id.to_owned(), envelope.clone())]);
    let made = create(&namespace.api, &namespace.name, &request).unwrap();
    let answered = wait_answer(&namespace.api, &made);
    namespace.api.delete(&path_of(&made)).unwrap();
    answered["status"]["envelopes"][id].clone()
}

/// Waits until a request is answered.
pub fn wait_answer(api: &ApiClient, made: &Value) -> Value {
    wait_for("an answer", || {
        let request = api.get(&path_of(made))?;
        (request["status"]["observedGeneration"] == 1).then_some(request)
    })
}

/// Where an object of ours is.
pub fn path_of(made: &Value) -> String {
    let text = |field: &str| made["metadata"][field].as_str().unwrap().to_owned();
    format!("{}/{}", requests_path(&text("namespace")), text("name"))
}

/// Writes the list of trusted recipients.
pub fn trust(api: &ApiClient, data: &Value) {
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "sealkit-recipients", "namespace": "sealkit-system"},
        "data": data,
    });
    api.apply(TRUSTED, &map).unwrap();
}
