//! Who asks AWS: ServiceAccounts, roles, the controller itself, and nobody else.

use std::fs;

use sealkit_rig::Fault;
use sealkit_tests::canary::unique_value;

use super::*;

/// With this ARNs of roles and users begin.
const ACCOUNT: &str = "arn:aws:iam::123456789012:";
const READER: &str = "arn:aws:iam::123456789012:role/reader";
/// What nothing quotes: signatures, and what AWS says to refuse a role.
const UNQUOTED: [&str; 2] = ["AWS4-HMAC-SHA256", "not authorized to perform"];

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

const TOKEN_ROLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../deploy/components/service-account-tokens/cluster-role.yaml"
);

/// Lets the controller create tokens, as the documentation grants it for one namespace.
fn grant_tokens(world: &World) {
    let binding = "create rolebinding sealkit-tokens --clusterrole=sealkit-service-account-tokens \
                   --serviceaccount=sealkit-system:seal-controller -n";
    let binding: Vec<_> = binding
        .split_whitespace()
        .chain([world.namespace.name.as_str()])
        .collect();
    for grant in [&["apply", "-f", TOKEN_ROLE][..], &binding] {
        world.plane.servers.kubectl(grant).unwrap();
    }
}

fn withdraw_tokens(world: &World) {
    let delete = ["delete", "-f", TOKEN_ROLE];
    world.plane.servers.kubectl(&delete).unwrap();
}

/// The token in a login with one.
fn token_of(login: &MotoCall) -> &str {
    let mut fields = login.content.split('&');
    let token = fields.find_map(|field| field.strip_prefix("WebIdentityToken="));
    token.unwrap()
}

/// Makes a role of AWS, and returns its ARN.
fn role(world: &World, name: &str, trust: &Value) -> String {
    let policy = json!({"Version": "2012-10-17", "Statement": [trust]}).to_string();
    let role = [
        ("RoleName", name),
        ("AssumeRolePolicyDocument", policy.as_str()),
    ];
    world.moto.iam("CreateRole", &role).unwrap();
    format!("{ACCOUNT}role/{name}")
}

/// Fields of a store, with the access key in this Secret.
fn with_key(secret: &str, mut store: Value) -> Value {
    store["auth"] = json!({"secretRef": {
        "accessKeyIDSecretRef": {"name": secret, "key": "id"},
        "secretAccessKeySecretRef": {"name": secret, "key": "key"},
    }});
    store
}

/// Makes an ExternalSecret, and its store of the same name.
fn external_of(world: &World, name: &str, store: &Value) {
    world.store(name, store);
    let spec = json!({
        "secretStoreRef": {"name": name}, "data": [entry("a", &json!({"key": "db"}))],
    });
    world.external(name, &spec);
}

/// An ExternalSecret of such a store says so, and makes no Secret.
fn assert_refused(world: &World, name: &str, store: &Value, says: &str) {
    external_of(world, name, store);
    world.wait_message(name, says);
    assert_eq!(world.namespace.secret(name), None, "{name}");
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
    grant_tokens(&world);
    world.force("db");
    world.wait_data("db", &data(&[("a", &value)]));

    let login = &world.calls("AssumeRoleWithWebIdentity")[0];
    assert_eq!(login.access_key, None, "the token proves it");
    assert!(
        login.content.contains("role%2Freader"),
        "the role of the ServiceAccount"
    );
    let token = token_of(login);
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
    world.assert_quiet(&[&value, token, read.session_token.as_ref().unwrap()]);
    withdraw_tokens(&world);
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

/// Makes a role that asks for the external ID `shop-1`, one that asks for the tag `team=web`, and one
/// that trusts another user than `reader`.
fn roles_of_a_reader(world: &World) -> [String; 3] {
    let trust = |principal: &str, actions: &[&str], equals: Value| {
        json!({
            "Effect": "Allow", "Principal": {"AWS": format!("{ACCOUNT}{principal}")},
            "Action": actions, "Condition": {"StringEquals": equals},
        })
    };
    let (assume, tag) = ("sts:AssumeRole", "sts:TagSession");
    let id = json!({"sts:ExternalId": "shop-1"});
    let team = json!({"aws:RequestTag/team": "web"});
    [
        ("asks", trust("user/reader", &[assume], id)),
        ("tagged", trust("root", &[assume, tag], team)),
        ("other", trust("user/other", &[assume], json!({}))),
    ]
    .map(|(name, trust)| role(world, name, &trust))
}

#[test]
fn a_role_is_assumed_as_its_trust_policy_says_and_by_nobody_who_cannot_sign() {
    let world = World::strict();
    let (value, wrong) = (unique_value(), unique_value());
    world.put("db", &value);
    let [id, key] = world.user("reader");
    world.secret("reader-key", &[("id", &id), ("key", &key)]);
    world.secret("forged-key", &[("id", &id), ("key", &wrong)]);
    let [asks, tagged, other] = roles_of_a_reader(&world);
    let missing = format!("{ACCOUNT}role/missing");
    let shop = json!({"role": asks, "externalID": "shop-1"});
    let team = |value: &str| json!([{"key": "team", "value": value}]);
    for (name, store) in [
        ("key", json!({})),
        ("id", shop.clone()),
        ("tag", json!({"role": tagged, "sessionTags": team("web")})),
    ] {
        external_of(&world, name, &with_key("reader-key", store));
        world.wait_data(name, &data(&[("a", &value)]));
    }
    let shop_and_tag = json!({"externalID": "shop-1", "sessionTags": team("web")});
    for (name, role, mut store) in [
        ("no-id", &asks, json!({})),
        ("wrong-id", &asks, json!({"externalID": "shop-2"})),
        ("no-right-to-tag", &asks, shop_and_tag),
        ("no-tag", &tagged, json!({})),
        ("wrong-tag", &tagged, json!({"sessionTags": team("shop")})),
        ("other", &other, json!({})),
        ("missing", &missing, json!({})),
    ] {
        store["role"] = json!(role);
        let says = format!("AWS refuses AssumeRole of {role} (AccessDenied)");
        assert_refused(&world, name, &with_key("reader-key", store), &says);
    }
    let (forged, in_sts) = ("InvalidSignatureException", "SignatureDoesNotMatch");
    let (unknown, to_sts) = ("UnrecognizedClientException", "InvalidClientTokenId");
    let parameters = json!({"service": "ParameterStore"});
    for (name, secret, store, code) in [
        ("forger", "forged-key", json!({}), forged),
        ("forger-of-parameters", "forged-key", parameters, forged),
        ("forger-with-role", "forged-key", shop.clone(), in_sts),
        ("stranger", "aws", json!({}), unknown),
        ("stranger-with-role", "aws", shop, to_sts),
    ] {
        let says = format!("AWS refuses the credentials ({code})");
        assert_refused(&world, name, &with_key(secret, store), &says);
    }
    // AWS takes its own clock for right.
    world.moto.set_clock(600).unwrap();
    world.force("key");
    world.wait_message("key", forged);
    world.moto.set_clock(0).unwrap();
    world.force("key");
    world.wait_ready("key");
    let reads = world.calls("GetSecretValue");
    let session = reads.iter().find_map(|call| call.session_token.as_ref());
    world.assert_quiet(&[&value, &id, &key, &wrong, SECRET_KEY, session.unwrap()]);
    world.assert_quiet(&UNQUOTED);
}

#[test]
fn a_role_is_given_to_the_service_account_that_its_trust_policy_names_and_to_no_other() {
    let world = World::strict();
    let value = unique_value();
    world.put("db", &value);
    let discovery = world.api().get("/.well-known/openid-configuration");
    let discovery = discovery.unwrap();
    let url = discovery["issuer"].as_str().unwrap();
    let provider = [("Url", url), ("ClientIDList.member.1", "sts.amazonaws.com")];
    let made = world.moto.iam("CreateOpenIDConnectProvider", &provider);
    made.unwrap();
    let issuer = url.trim_start_matches("https://");
    let namespace = &world.namespace.name;
    let trust = json!({
        "Effect": "Allow", "Principal": {"Federated": format!("{ACCOUNT}oidc-provider/{issuer}")},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {
            format!("{issuer}:sub"): format!("system:serviceaccount:{namespace}:app"),
            format!("{issuer}:aud"): "sts.amazonaws.com",
        }},
    });
    assert_eq!(role(&world, "reader", &trust), READER);
    let trust =
        json!({"Effect": "Allow", "Principal": {"AWS": READER}, "Action": "sts:AssumeRole"});
    let last = role(&world, "last", &trust);
    grant_tokens(&world);
    service_account(&world, "app");
    service_account(&world, "other");
    let account = |name: &str| json!({"jwt": {"serviceAccountRef": {"name": name}}});
    let with_role = json!({"auth": account("app"), "role": last});
    for (name, store) in [
        ("app", json!({"auth": account("app")})),
        ("app-with-role", with_role),
    ] {
        external_of(&world, name, &store);
        world.wait_data(name, &data(&[("a", &value)]));
    }
    let says = format!("AWS refuses AssumeRoleWithWebIdentity of {READER} (AccessDenied)");
    assert_refused(&world, "other", &json!({"auth": account("other")}), &says);
    // The header is the same in all tokens of a cluster.
    let logins = world.calls("AssumeRoleWithWebIdentity");
    let header = token_of(&logins[0]).split('.').next().unwrap();
    world.assert_quiet(&[&value, header]);
    world.assert_quiet(&UNQUOTED);
    withdraw_tokens(&world);
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
