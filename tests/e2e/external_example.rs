//! The example of ExternalSecrets from Vault, with the commands of its README as calls.

use std::fs;
use std::path::Path;

use sealkit_rig::OpenBao;
use sealkit_tests::namespace::data;
use sealkit_tests::plane::Own;
use sealkit_tests::wait::wait_for;
use serde_json::{Value, json};

#[test]
fn the_example_for_vault_works_with_another_server_alone() {
    let plane = Own::take();
    let bao = OpenBao::start().unwrap();
    let _controller = plane.leading_controller();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/vault");
    let vault = bao.root();
    let write = |path: &str, body: Value| vault.write(path, &body).unwrap();
    let secret = json!({"user": "shop", "password": "a/b c"});
    vault.put("secret", "shop/db", &secret).unwrap();
    let policy = fs::read_to_string(example.join("policy.hcl")).unwrap();
    write("sys/policies/acl/shop", json!({"policy": policy}));
    write("sys/auth/approle", json!({"type": "approle"}));
    let role = json!({"token_policies": "shop", "token_ttl": "1h", "secret_id_ttl": 0});
    write("auth/approle/role/shop", role);
    let role_id = vault.read("auth/approle/role/shop/role-id").unwrap();
    let secret_id = write("auth/approle/role/shop/secret-id", json!({}));
    let half = |answer: &Value, field: &str| answer["data"][field].as_str().unwrap().to_owned();

    let api = &plane.api;
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    api.create("/api/v1/namespaces", &namespace).unwrap();
    let halves = [
        ("role-id", half(&role_id, "role_id")),
        ("secret-id", half(&secret_id, "secret_id")),
    ];
    let halves = halves.each_ref().map(|(key, value)| (*key, value.as_str()));
    let credentials = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "vault-approle"},
        "data": data(&halves),
    });
    let secrets = "/api/v1/namespaces/shop/secrets";
    api.create(secrets, &credentials).unwrap();

    let copy = tempfile::tempdir().unwrap();
    for name in ["kustomization.yaml", "store.yaml", "db.yaml"] {
        let text = fs::read_to_string(example.join(name)).unwrap();
        let text = text.replace("https://vault.example.com", bao.url());
        fs::write(copy.path().join(name), text).unwrap();
    }
    plane.servers.apply_kustomize(copy.path()).unwrap();
    let made = wait_for("the Secret", || api.get(&format!("{secrets}/db")));
    let url = "postgres://shop:a%2Fb+c@db.shop:5432/shop";
    let expected = data(&[
        ("USER", "shop"),
        ("PASSWORD", "a/b c"),
        ("DATABASE_URL", url),
    ]);
    assert_eq!(made["data"], expected);
    let folder = copy.path().to_str().unwrap();
    let kubectl = |arguments: &[&str]| plane.servers.kubectl(arguments).unwrap();
    kubectl(&["delete", "-k", folder]);
    kubectl(&["delete", "namespace", "shop"]);
}
