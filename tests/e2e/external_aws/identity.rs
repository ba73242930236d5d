//! Who asks AWS: ServiceAccounts, roles, the controller itself, and nobody else.

use std::fs;

use sealkit_rig::Fault;
use sealkit_tests::canary::unique_value;

use super::*;

const READER: &str = "arn:aws:iam::123456789012:role/reader";

/// A ServiceAccount with a role, whose tokens the controller may create.
fn service_account(world: &World, name: &str) {
    let namespace = &world.namespace.name;
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": name, "annotations": {"eks.amazonaws.com/role-arn": READER}},
    });
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    world.api().create(&path, &account).unwrap();
}

#[test]
fn a_service_account_logs_in_with_its_role_and_roles_follow_in_order() {
    let world = World::start();
    let value = unique_value();
    world.put("db", &value);
    service_account(&world, "app");
    let last = "arn:aws:iam::123456789012:role/last";
    world.store(
        "irsa",
        &json!({
            "auth": {"jwt": {"serviceAccountRef": {"name": "app"}}},
            "additionalRoles": ["arn:aws:iam::123456789012:role/between"],
            "role": last, "externalID": "shop-1", "sessionTagsPolicy": "Simple",
            "sessionTags": [{"key": "team", "value": "web"}], "transitiveTagKeys": ["team"],
        }),
    );
    world.external(
        "db",
        &json!({
            "secretStoreRef": {"name": "irsa"}, "data": [entry("a", &json!({"key": "db"}))],
        }),
    );
    world.wait_message("db", "the controller may not read the ServiceAccount");
    // As the documentation grants it for one namespace.
    let role = "deploy/components/service-account-tokens/cluster-role.yaml";
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let role = root.join(role);
    let binding = "create rolebinding sealkit-tokens --clusterrole=sealkit-service-account-tokens \
                   --serviceaccount=sealkit-system:seal-controller -n";
    let binding: Vec<_> = binding
        .split_whitespace()
        .chain([world.namespace.name.as_str()])
        .collect();
    for grant in [&["apply", "-f", role.to_str().unwrap()][..], &binding] {
        world.plane.servers.kubectl(grant).unwrap();
    }
    world.force("db");
    world.wait_data("db", &data(&[("a", &value)]));

    let login = &world.calls("AssumeRoleWithWebIdentity")[0];
    assert_eq!(login.access_key, None, "the token proves it");
    assert!(
        login.content.contains("role%2Freader"),
        "the role of the ServiceAccount"
    );
    let token = login
        .content
        .split('&')
        .find_map(|part| part.strip_prefix("WebIdentityToken="));
    let token = token.unwrap().to_owned();
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::Engine::decode(&base64::prelude::BASE64_URL_SAFE_NO_PAD, claims).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["aud"], json!(["sts.amazonaws.com"]));
    let roles = world.calls("AssumeRole");
    assert_eq!(roles.len(), 2);
    assert!(roles[0].content.contains("role%2Fbetween") && !roles[0].content.contains("Tags"));
    let sent = &roles[1].content;
    for part in [
        "role%2Flast",
        "ExternalId=shop-1",
        "Tags.member.1.Key=team",
        "Tags.member.1.Value=web",
        "Tags.member.2.Key=esoNamespace",
        "TransitiveTagKeys.member.1=team",
        &format!("Tags.member.2.Value={}", world.namespace.name),
    ] {
        assert!(sent.contains(part), "{part} in {sent}");
    }
    let read = &world.calls("GetSecretValue")[0];
    assert!(read.session_token.is_some());
    world.assert_quiet(&[&value, &token, read.session_token.as_ref().unwrap()]);
    world
        .plane
        .servers
        .kubectl(&["delete", "-f", role.to_str().unwrap()])
        .unwrap();
}

#[test]
fn a_session_that_ends_is_made_again_in_the_middle() {
    let world = World::start();
    world.put("db", "one");
    world.store("role", &json!({"role": READER}));
    world.external(
        "db",
        &json!({
            "secretStoreRef": {"name": "role"}, "data": [entry("a", &json!({"key": "db"}))],
        }),
    );
    world.wait_data("db", &data(&[("a", "one")]));
    let first = world.calls("GetSecretValue")[0]
        .session_token
        .clone()
        .unwrap();
    // AWS knows the credentials no more, and does know new ones.
    world.proxy.set(Fault::Refuse {
        text: first.clone().leak(),
        status: 400,
        body: r#"{"__type":"ExpiredTokenException","message":"expired"}"#,
    });
    let put = json!({"SecretId": "db", "SecretString": "two"});
    world
        .moto
        .call("secretsmanager.PutSecretValue", &put)
        .unwrap();
    world.force("db");
    world.wait_data("db", &data(&[("a", "two")]));
    assert_eq!(world.calls("AssumeRole").len(), 2);
    let second = world.calls("GetSecretValue")[1]
        .session_token
        .clone()
        .unwrap();
    assert_ne!(first, second);
}

#[test]
fn nobody_lends_an_identity_unasked() {
    let world = World::start();
    let other = world.plane.namespace("other");
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "aws"},
        "data": data(&[("id", KEY), ("key", SECRET_KEY)]),
    });
    world.api().create(&other.secrets_path(), &secret).unwrap();
    let foreign = |key: &str| json!({"name": "aws", "key": key, "namespace": other.name});
    world.store(
        "foreign",
        &json!({"auth": {"secretRef": {
            "accessKeyIDSecretRef": foreign("id"), "secretAccessKeySecretRef": foreign("key"),
        }}}),
    );
    world.store("without", &json!({"auth": {}}));
    world.store("region", &json!({"region": "eu.example.com/"}));
    world.store("certificates", &json!({"service": "CertificateManager"}));
    let shared = world.cluster_store(&json!({"auth": {}}));
    for (name, store, says) in [
        (
            "foreign",
            json!({"name": "foreign"}),
            "may not refer to another namespace",
        ),
        (
            "without",
            json!({"name": "without"}),
            "lends its own identity to no SecretStore",
        ),
        (
            "region",
            json!({"name": "region"}),
            "is no name of a region",
        ),
        (
            "certificates",
            json!({"name": "certificates"}),
            "CertificateManager of provider aws is not served",
        ),
        (
            "shared",
            json!({"name": shared, "kind": "ClusterSecretStore"}),
            "only with --allow-controller-identity",
        ),
    ] {
        let spec = json!({"secretStoreRef": store, "data": [entry("a", &json!({"key": "db"}))]});
        world.external(name, &spec);
        let object = world.wait_message(name, says);
        assert_eq!(condition(&object, "Stalled"), Some("True"), "{name}");
        assert_eq!(world.namespace.secret(name), None);
    }
    let mut calls = world.moto.calls().unwrap();
    // Two other stores are checked.
    calls.retain(|call| call.operation != "GetCallerIdentity");
    assert_eq!(calls, []);
    let path = format!("/apis/external-secrets.io/v1/clustersecretstores/{shared}");
    world.api().delete(&path).unwrap();
}

#[test]
fn an_administrator_lends_the_controllers_identity_to_stores_of_the_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let token = unique_value();
    fs::write(&file, &token).unwrap();
    let moto = Moto::start().unwrap();
    let world = World::with(
        &["--allow-controller-identity"],
        &[
            ("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()),
            ("AWS_ROLE_ARN", READER),
            ("AWS_ENDPOINT_URL_STS", moto.url()),
        ],
    );
    world.put("db", "one");
    let shared = world.cluster_store(&json!({"auth": {}}));
    world.store("without", &json!({"auth": {}}));
    let spec = |store: &Value| json!({"secretStoreRef": store, "data": [entry("a", &json!({"key": "db"}))]});
    world.external(
        "shared",
        &spec(&json!({"name": shared, "kind": "ClusterSecretStore"})),
    );
    world.wait_data("shared", &data(&[("a", "one")]));
    world.external("own", &spec(&json!({"name": "without"})));
    world.wait_message("own", "lends its own identity to no SecretStore");
    let mut logins = moto.calls().unwrap();
    logins.retain(|call| call.operation == "AssumeRoleWithWebIdentity");
    assert_eq!(logins.len(), 1, "{logins:?}");
    world.assert_quiet(&[&token]);
    let path = format!("/apis/external-secrets.io/v1/clustersecretstores/{shared}");
    world.api().delete(&path).unwrap();
}
