//! What providers offer besides a secret by its key: trust in TLS, metadata, searches, other clusters.

use std::fs;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_rig::{ControlPlane, Fault, OpenBao, Options, Proxy};
use sealkit_tests::canary::unique_value;
use sealkit_tests::external::{Team, WAIT, property};
use sealkit_tests::namespace::{Namespace, condition, data};
use sealkit_tests::plane::{Own, Plane, Shared, unique};
use sealkit_tests::wait::wait_within;
use serde_json::{Value, json};

/// A Secret with binary values.
fn binary(values: &[(&str, &[u8])]) -> Value {
    let encoded = |(key, value): &(&str, &[u8])| {
        (
            (*key).to_owned(),
            Value::from(BASE64_STANDARD.encode(value)),
        )
    };
    values.iter().map(encoded).collect()
}

fn wait_data(namespace: &Namespace, name: &str, expected: &Value) {
    wait_within(WAIT, &format!("{name} has its values"), || {
        let secret = namespace.secret(name)?;
        (secret["data"] == *expected).then_some(())
    });
}

/// A store of the team at this address, with these fields of the provider.
fn store(team: &Team, name: &str, server: &str, fields: &Value) {
    let mut store = team.store(name, server);
    let provider = &mut store["spec"]["provider"]["vault"];
    for (field, value) in fields.as_object().unwrap() {
        provider[field] = value.clone();
    }
    team.make("secretstores", &store);
}

/// kubectl with arguments that have no spaces.
fn kubectl(plane: &Plane, arguments: &str) -> String {
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    plane.servers.kubectl(&arguments).unwrap()
}

/// What an ExternalSecret takes from a store: `db`'s `a`.
fn wants(store: &str) -> Value {
    json!({"secretStoreRef": {"name": store}, "data": [property("a", "db", "a")]})
}

#[test]
fn the_ca_of_a_store_is_trusted() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let (team, value) = (Team::new(&plane, bao), unique_value());
    team.vault
        .put(&team.mount, "db", &json!({"a": value}))
        .unwrap();
    let ca = &bao.tls().ca;
    let once = BASE64_STANDARD.encode(ca);
    let twice = BASE64_STANDARD.encode(&once);
    team.secret("ca", &[("tls.crt", ca)]);
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ca"}, "data": {"ca.crt": ca},
    });
    let maps = format!("/api/v1/namespaces/{}/configmaps", team.namespace.name);
    team.api().create(&maps, &map).unwrap();
    let rows = [
        ("once", json!({"caBundle": once})),
        ("twice", json!({"caBundle": twice})),
        (
            "secret",
            json!({"caProvider": {"type": "Secret", "name": "ca", "key": "tls.crt"}}),
        ),
        (
            "map",
            json!({"caProvider": {"type": "ConfigMap", "name": "ca"}}),
        ),
    ];
    for (name, fields) in &rows {
        store(&team, name, &bao.tls_url(), fields);
        team.external(name, "1s", &wants(name));
        wait_data(&team.namespace, name, &data(&[("a", &value)]));
    }
}

#[test]
fn a_server_that_the_store_does_not_trust_hears_nothing() {
    let plane = Own::take();
    let _controller = plane.leading_controller();
    let bao = OpenBao::start().unwrap();
    let team = Team::new(&plane, &bao);
    let ca = BASE64_STANDARD.encode(&bao.tls().ca);
    let other = BASE64_STANDARD.encode(plane.servers.ca_pem());
    team.secret("ca", &[("tls.crt", &bao.tls().ca)]);
    let url = bao.tls_url();
    let by_address = url.replace("localhost", "127.0.0.1");
    let plain = bao.url().replace("http://", "https://");
    let provider = |name: &str, namespace: &str| json!({"caProvider": {"type": "Secret", "name": name, "key": "tls.crt", "namespace": namespace}});
    let untrusted = "of a CA that the store does not trust";
    let rows = [
        ("system", &url, json!({}), untrusted),
        ("other-ca", &url, json!({"caBundle": other}), untrusted),
        (
            "other-name",
            &by_address,
            json!({"caBundle": ca}),
            "is for another name",
        ),
        (
            "no-ca",
            &url,
            json!({"caBundle": "eA=="}),
            "CA is no certificate in PEM",
        ),
        (
            "plain",
            &plain,
            json!({"caBundle": ca}),
            "Vault does not speak TLS",
        ),
        (
            "foreign",
            &url,
            provider("ca", "kube-system"),
            "may not refer to another namespace",
        ),
        (
            "absent",
            &url,
            provider("nothing", &team.namespace.name),
            "nothing does not exist",
        ),
    ];
    for (name, url, fields, says) in &rows {
        store(&team, name, url, fields);
        team.external(name, "1s", &wants(name));
        team.wait_message(name, says);
        assert_eq!(team.namespace.secret(name), None, "{name}");
    }
}

#[test]
fn a_client_certificate_opens_tls_and_logs_in() {
    let plane = Shared::get();
    let bao = OpenBao::start().unwrap();
    let team = Team::new(&plane, &bao);
    let (value, tls) = (unique_value(), bao.tls());
    team.vault
        .put(&team.mount, "db", &json!({"a": value}))
        .unwrap();
    let policy = format!(
        "path \"{}/data/*\" {{ capabilities = [\"read\"] }}",
        team.mount
    );
    let write = |path: &str, body: Value| team.vault.write(path, &body).unwrap();
    write("sys/policies/acl/reader", json!({"policy": policy}));
    write("sys/auth/cert", json!({"type": "cert"}));
    write(
        "auth/cert/certs/shop",
        json!({"certificate": tls.client, "token_policies": "reader", "token_ttl": "1h"}),
    );
    team.secret(
        "client",
        &[("tls.crt", &tls.client), ("tls.key", &tls.client_key)],
    );
    let ca = BASE64_STANDARD.encode(&tls.ca);
    let trusting = |name: &str, url: &str, mut fields: Value| {
        fields["caBundle"] = json!(ca);
        store(&team, name, url, &fields);
        team.external(name, "1s", &wants(name));
    };
    let certificate = json!({"name": "client", "key": "tls.crt"});
    let key = json!({"name": "client", "key": "tls.key"});
    let cert = |role: &str| json!({"cert": {"vaultRole": role, "clientCert": certificate, "secretRef": key}});
    trusting("login", &bao.tls_url(), json!({"auth": cert("shop")}));
    let pair = json!({"certSecretRef": {"name": "client"}, "keySecretRef": {"name": "client"}});
    trusting("mutual", &bao.mutual_tls_url(), json!({"tls": pair}));
    let expected = data(&[("a", &value)]);
    wait_data(&team.namespace, "login", &expected);
    wait_data(&team.namespace, "mutual", &expected);

    let half = json!({"certSecretRef": {"name": "client"}});
    let rows = [
        (
            "nobody",
            bao.mutual_tls_url(),
            json!({}),
            "does it want another client certificate?",
        ),
        (
            "half",
            bao.mutual_tls_url(),
            json!({"tls": half}),
            "needs both certSecretRef and keySecretRef",
        ),
        (
            "role",
            bao.tls_url(),
            json!({"auth": cert("other")}),
            "Vault refuses the login (400)",
        ),
    ];
    for (name, url, fields, says) in rows {
        trusting(name, &url, fields);
        team.wait_message(name, says);
    }
}

#[test]
fn a_store_sends_its_headers_and_says_how_consistent_its_reads_must_be() {
    let (plane, bao) = (Shared::get(), OpenBao::start().unwrap());
    let team = Team::new(&plane, &bao);
    let put = |value: &str| {
        let secret = json!({"a": value});
        team.vault.put(&team.mount, "db", &secret).unwrap();
    };
    let write = |path: &str, body: Value| team.vault.write(path, &body).unwrap();
    let policy = format!(
        "path \"{}/data/*\" {{ capabilities = [\"read\"] }}",
        team.mount
    );
    write("sys/policies/acl/reader", json!({"policy": policy}));
    write("sys/auth/userpass", json!({"type": "userpass"}));
    let password = unique_value();
    write(
        "auth/userpass/users/shop",
        json!({"password": password, "token_policies": "reader"}),
    );
    team.secret("login", &[("password", &password)]);
    let login = json!({"userPass": {"path": "userpass", "username": "shop",
        "secretRef": {"name": "login", "key": "password"}}});
    let rows = [
        ("plain", json!({})),
        ("state", json!({"readYourWrites": true})),
        ("half", json!({"forwardInconsistent": true})),
        (
            "forward",
            json!({"readYourWrites": true, "forwardInconsistent": true}),
        ),
        ("header", json!({"headers": {"X-Team": "shop"}})),
    ];
    let proxy = Proxy::start(bao.url()).unwrap();
    let follow = |names: &[&str], value: &str| {
        for name in names {
            wait_data(&team.namespace, name, &data(&[("a", value)]));
        }
    };
    let all = rows.each_ref().map(|(name, _)| *name);
    let mut last = unique_value();
    put(&last);
    for (name, fields) in &rows {
        let mut fields = fields.clone();
        fields["auth"] = login.clone();
        store(&team, name, proxy.url(), &fields);
        team.external(name, "1s", &wants(name));
    }
    follow(&all, &last);
    let cases: [(&str, &[&str]); 3] = [
        // The state of the server that it told at the login.
        ("x-vault-index: ", &["state", "half", "forward"]),
        ("x-vault-inconsistent: forward-active-node", &["forward"]),
        ("x-team: shop", &["header"]),
    ];
    for (text, senders) in cases {
        // Whoever sends it gets no answer any more.
        proxy.set(Fault::Refuse {
            text,
            status: 412,
            body: "",
        });
        let value = unique_value();
        put(&value);
        let (refused, served): (Vec<&str>, Vec<&str>) =
            all.iter().partition(|name| senders.contains(name));
        follow(&served, &value);
        for name in &refused {
            team.wait_message(name, "does not have the state after the login yet (412)");
            wait_data(&team.namespace, name, &data(&[("a", &last)]));
        }
        proxy.set(Fault::None);
        follow(&all, &value);
        last = value;
    }
}

#[test]
fn vault_tells_metadata_and_finds_secrets_by_name_and_tags() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    let mount = &team.mount;
    let put = |key: &str, value: &str, tags: Value| {
        team.vault.put(mount, key, &json!({"v": value})).unwrap();
        let metadata = json!({"custom_metadata": tags});
        team.vault
            .write(&format!("{mount}/metadata/{key}"), &metadata)
            .unwrap();
    };
    put("shop/db", "one", json!({"env": "prod", "team": "shop"}));
    put("shop/deep/er/api", "two", json!({"env": "prod"}));
    put("shop/old", "three", json!({"env": "test"}));
    put("bank/db", "four", json!({"env": "prod"}));
    put("shop/gone", "five", json!({"env": "prod"}));
    team.vault
        .delete(&format!("{mount}/data/shop/gone"))
        .unwrap();

    let fetch =
        |property: &str| json!({"key": "shop/db", "property": property, "metadataPolicy": "Fetch"});
    team.external(
        "metadata",
        "1s",
        &json!({"data": [
            {"secretKey": "env", "remoteRef": fetch("env")},
            {"secretKey": "version", "remoteRef": fetch("current_version")},
        ]}),
    );
    wait_data(
        &team.namespace,
        "metadata",
        &data(&[("env", "prod"), ("version", "1")]),
    );

    let json = |value: &str| json!({"v": value}).to_string();
    let (one, two, four) = (json("one"), json("two"), json("four"));
    let rows = [
        (
            "by-name",
            json!({"path": "shop", "name": {"regexp": "deep|db$"}}),
            vec![("shop_db", &one), ("shop_deep_er_api", &two)],
        ),
        (
            "by-tag",
            json!({"path": "shop", "tags": {"env": "prod"}}),
            vec![("shop_db", &one), ("shop_deep_er_api", &two)],
        ),
        (
            "by-tags",
            json!({"tags": {"env": "prod", "team": "shop"}}),
            vec![("shop_db", &one)],
        ),
        (
            "everywhere",
            json!({"name": {"regexp": "^bank/"}}),
            vec![("bank_db", &four)],
        ),
    ];
    for (name, find, found) in rows {
        team.external(name, "1s", &json!({"dataFrom": [{"find": find}]}));
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        wait_data(&team.namespace, name, &data(&found));
    }
    for (name, find, says) in [
        (
            "nothing",
            json!({"name": {"regexp": "nothing"}}),
            "find matches no secret",
        ),
        (
            "no-regexp",
            json!({"name": {"regexp": "("}}),
            "find.name.regexp is no regular expression",
        ),
        (
            "leaves",
            json!({"path": "../sys", "name": {"regexp": "."}}),
            "is no key",
        ),
    ] {
        team.external(name, "1s", &json!({"dataFrom": [{"find": find}]}));
        team.wait_message(name, says);
        assert_eq!(team.namespace.secret(name), None, "{name}");
    }
}

#[test]
fn an_engine_of_version_1_is_searched_by_name_and_has_no_tags() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    let mount = unique("kv1");
    let write = |path: &str, body: Value| team.vault.write(path, &body).unwrap();
    write(
        &format!("sys/mounts/{mount}"),
        json!({"type": "kv", "options": {"version": "1"}}),
    );
    wait_within(WAIT, "the engine serves", || {
        let body = json!({"v": "one"});
        team.vault.write(&format!("{mount}/a/b"), &body).ok()
    });
    store(
        &team,
        "v1",
        bao.url(),
        &json!({"path": mount, "version": "v1"}),
    );
    let find = |name: &str, find: Value| {
        let spec = json!({"secretStoreRef": {"name": "v1"}, "dataFrom": [{"find": find}]});
        team.external(name, "1s", &spec);
    };
    find("by-name", json!({"name": {"regexp": "^a/b$"}}));
    wait_data(
        &team.namespace,
        "by-name",
        &data(&[("a_b", r#"{"v":"one"}"#)]),
    );
    find("by-tag", json!({"tags": {"a": "b"}}));
    team.wait_message("by-tag", "find.tags needs a KV engine of version 2");
}

#[test]
fn values_in_the_store_itself_are_for_tests() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    let fake = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": "fake"},
        "spec": {"provider": {"fake": {"data": [
            {"key": "text", "value": "plain \u{fc}"},
            {"key": "text", "value": "newer", "version": "v2"},
            {"key": "json", "value": r#"{"user": "shop", "deep": {"port": 5432}}"#},
        ]}}},
    });
    team.make("secretstores", &fake);
    let one = |key: &str, more: Value| {
        let mut remote = json!({"key": key});
        remote
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"secretKey": "a", "remoteRef": remote})
    };
    let rows = [
        (
            "text",
            json!({"data": [one("text", json!({}))]}),
            data(&[("a", "plain \u{fc}")]),
        ),
        (
            "version",
            json!({"data": [one("text", json!({"version": "v2"}))]}),
            data(&[("a", "newer")]),
        ),
        (
            "deep",
            json!({"data": [one("json", json!({"property": "deep.port"}))]}),
            data(&[("a", "5432")]),
        ),
        (
            "all",
            json!({"dataFrom": [{"extract": {"key": "json"}}]}),
            data(&[("user", "shop"), ("deep", r#"{"port": 5432}"#)]),
        ),
        (
            "find",
            json!({"dataFrom": [{"find": {"name": {"regexp": "^te"}}}]}),
            data(&[("text", "newer")]),
        ),
    ];
    for (name, mut spec, expected) in rows {
        spec["secretStoreRef"] = json!({"name": "fake"});
        team.external(name, "1s", &spec);
        wait_data(&team.namespace, name, &expected);
    }
    let absent = json!({"secretStoreRef": {"name": "fake"}, "data": [one("text", json!({"version": "v3"}))]});
    team.external("absent", "1s", &absent);
    team.wait_message("absent", "the store has no value \"text\" of that version");
    let nothing = json!({"secretStoreRef": {"name": "fake"}, "data": [one("text", json!({"property": "x"}))]});
    team.external("no-property", "1s", &nothing);
    team.wait_message("no-property", "no property");
}

/// A namespace whose Secrets another one reads, and a ServiceAccount that may.
struct Remote {
    namespace: Namespace,
    url: String,
    ca: String,
}

impl Remote {
    fn new(plane: &Plane) -> Self {
        let namespace = plane.namespace("remote");
        let name = &namespace.name;
        kubectl(plane, &format!("create serviceaccount reader -n {name}"));
        kubectl(
            plane,
            &format!("create role reader -n {name} --verb=get,list --resource=secrets"),
        );
        let account = format!("--serviceaccount={name}:reader");
        kubectl(
            plane,
            &format!("create rolebinding reader -n {name} --role=reader {account}"),
        );
        Self {
            url: plane.servers.url().to_owned(),
            ca: BASE64_STANDARD.encode(plane.servers.ca_pem()),
            namespace,
        }
    }

    fn secret(&self, name: &str, values: &[(&str, &[u8])], labels: &Value) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "data": binary(values),
            "metadata": {"name": name, "labels": labels, "annotations": {"note": "n"}},
        });
        let path = self.namespace.secrets_path();
        self.namespace.api.create(&path, &secret).unwrap();
    }

    /// A token that may read here.
    fn token(&self, plane: &Plane) -> String {
        let token = kubectl(
            plane,
            &format!("create token reader -n {}", self.namespace.name),
        );
        token.trim().to_owned()
    }

    /// A store over the namespace, with these fields of the provider.
    fn store(&self, name: &str, fields: &Value) -> Value {
        let mut store = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": name},
            "spec": {"provider": {"kubernetes": {
                "server": {"url": self.url, "caBundle": self.ca},
                "remoteNamespace": self.namespace.name,
            }}},
        });
        for (field, value) in fields.as_object().unwrap() {
            store["spec"]["provider"]["kubernetes"][field] = value.clone();
        }
        store
    }

    /// A kubeconfig for the namespace's cluster.
    fn kubeconfig(&self, user: &Value) -> String {
        let cluster = json!({"server": self.url, "certificate-authority-data": self.ca});
        json!({
            "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": cluster}], "users": [{"name": "u", "user": user}],
        })
        .to_string()
    }
}

#[test]
fn secrets_of_a_cluster_are_read_with_a_token_without_loss() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let (team, remote) = (Team::new(&plane, bao), Remote::new(&plane));
    let bytes: Vec<u8> = (0..=255).collect();
    let password = unique_value();
    let cfg = br#"{"db": {"user": "shop"}}"#;
    let values: [(&str, &[u8]); 3] = [
        ("password", password.as_bytes()),
        ("file.bin", &bytes),
        ("cfg", cfg),
    ];
    remote.secret(
        "db",
        &values,
        &json!({"team": "shop", "app.kubernetes.io/name": "db"}),
    );
    remote.secret("api", &[("key", b"k")], &json!({"team": "shop"}));
    remote.secret("other", &[("key", b"o")], &json!({}));
    team.secret("reader", &[("token", &remote.token(&plane))]);
    let auth = json!({"auth": {"token": {"bearerToken": {"name": "reader", "key": "token"}}}});
    team.make("secretstores", &remote.store("remote", &auth));
    let from = |spec: &Value| {
        let mut spec = spec.clone();
        spec["secretStoreRef"] = json!({"name": "remote"});
        spec
    };
    let api = r#"{"key":"k"}"#;
    let rows = [
        (
            "one",
            json!({"data": [property("a", "db", "password"), property("b", "db", "file.bin")]}),
            binary(&[("a", password.as_bytes()), ("b", &bytes)]),
        ),
        (
            "nested",
            json!({"data": [property("a", "db", "cfg.db.user")]}),
            data(&[("a", "shop")]),
        ),
        (
            "extract",
            json!({"dataFrom": [{"extract": {"key": "db"}}]}),
            binary(&values),
        ),
        (
            "whole",
            json!({"data": [{"secretKey": "a", "remoteRef": {"key": "api"}}]}),
            data(&[("a", api)]),
        ),
        (
            "find",
            json!({"dataFrom": [{"find": {"name": {"regexp": "^a"}}}]}),
            data(&[("api", api)]),
        ),
        (
            "metadata",
            json!({"data": [{"secretKey": "a", "remoteRef":
            {"key": "db", "property": "labels.team", "metadataPolicy": "Fetch"}}]}),
            data(&[("a", "shop")]),
        ),
    ];
    for (name, spec, expected) in &rows {
        team.external(name, "1s", &from(spec));
        wait_data(&team.namespace, name, expected);
    }
    let tagged = json!({"dataFrom": [{"find": {"tags": {"team": "shop"}}}]});
    team.external("tagged", "1s", &from(&tagged));
    team.namespace
        .wait_secret("tagged", "two are found", |secret| {
            let data = secret["data"].as_object();
            data.is_some_and(|data| data.keys().eq(["api", "db"]))
        });
    for (name, key, says) in [
        ("absent", "nothing", "there is no Secret \"nothing\""),
        ("leaves", "../pods", "is no name of a Secret"),
    ] {
        team.external(
            name,
            "1s",
            &from(&json!({"data": [{"secretKey": "a", "remoteRef": {"key": key}}]})),
        );
        team.wait_message(name, says);
    }
}

#[test]
fn a_service_account_or_a_kubeconfig_of_the_team_reads_another_cluster() {
    let plane = Own::take();
    let mut controller = plane.leading_controller();
    let bao = OpenBao::shared().unwrap();
    let (team, remote) = (Team::new(&plane, bao), Remote::new(&plane));
    let (value, token) = (unique_value(), remote.token(&plane));
    remote.secret("db", &[("a", value.as_bytes())], &json!({}));
    let (own, far) = (&team.namespace.name, &remote.namespace.name);
    kubectl(&plane, &format!("create serviceaccount app -n {own}"));
    let may_read =
        format!("create rolebinding app -n {far} --role=reader --serviceaccount={own}:app");
    kubectl(&plane, &may_read);
    let role = "--verb=create --resource=serviceaccounts/token";
    kubectl(&plane, &format!("create role tokens -n {own} {role}"));
    let controller_account = "--serviceaccount=sealkit-system:seal-controller";
    kubectl(
        &plane,
        &format!("create rolebinding tokens -n {own} --role=tokens {controller_account}"),
    );
    let audience = format!("{}/", remote.url);
    let account = json!({"auth": {"serviceAccount": {"name": "app", "audiences": [audience]}}});
    team.make("secretstores", &remote.store("account", &account));
    let kubeconfig = remote.kubeconfig(&json!({"token": token}));
    team.secret("kubeconfig", &[("kubeconfig", &kubeconfig)]);
    let mut store = remote.store("config", &json!({"authRef": {"name": "kubeconfig"}}));
    store["spec"]["provider"]["kubernetes"]
        .as_object_mut()
        .unwrap()
        .remove("server");
    team.make("secretstores", &store);

    let expected = data(&[("a", &value)]);
    for name in ["account", "config"] {
        team.external(name, "1s", &wants(name));
        wait_data(&team.namespace, name, &expected);
    }
    // What the identity may not read any more is told, and the last good Secret stays.
    kubectl(&plane, &format!("delete rolebinding app -n {far}"));
    team.wait_message("account", "may not read \"db\"");
    wait_data(&team.namespace, "account", &expected);
    kubectl(&plane, &may_read);
    team.api()
        .merge(
            &format!("{}/account", team.path("externalsecrets")),
            &json!({"metadata": {"annotations": {"force-sync": "1"}}}),
        )
        .unwrap();
    wait_within(WAIT, "it recovers", || {
        (condition(&team.look("account"), "Ready") == Some("True")).then_some(())
    });
    assert!(!controller.log().contains(&token));
    controller.assert_lives_within_its_memory();
}

#[test]
fn a_client_certificate_reads_another_cluster() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    // The far cluster trusts the CA whose client certificates the rig has, and nobody else's.
    let tls = bao.tls();
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.crt");
    fs::write(&ca, &tls.ca).unwrap();
    let far = ControlPlane::start(Options {
        extra_apiserver_flags: vec![format!("--client-ca-file={}", ca.display())],
        ..Options::default()
    })
    .unwrap();
    let value = unique_value();
    let on_far = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        far.kubectl(&arguments).unwrap()
    };
    on_far(&format!(
        "create secret generic db -n default --from-literal=a={value}"
    ));
    on_far("create role reader -n default --verb=get --resource=secrets --resource-name=db");
    on_far("create rolebinding reader -n default --role=reader --user=client");
    team.secret(
        "client",
        &[("tls.crt", &tls.client), ("tls.key", &tls.client_key)],
    );
    let auth = json!({"cert": {"clientCert": {"name": "client", "key": "tls.crt"},
        "clientKey": {"name": "client", "key": "tls.key"}}});
    let store = |name: &str, auth: &Value| {
        team.make(
            "secretstores",
            &json!({
                "apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": {"name": name},
                "spec": {"provider": {"kubernetes": {"auth": auth, "server": {
                    "url": far.url(), "caBundle": BASE64_STANDARD.encode(far.ca_pem()),
                }}}},
            }),
        );
        team.external(name, "1s", &wants(name));
    };
    store("far", &auth);
    wait_data(&team.namespace, "far", &data(&[("a", &value)]));
    // A key that is not the certificate's, and a certificate that the cluster does not trust.
    team.secret("other", &[("tls.crt", &tls.client), ("tls.key", &tls.ca)]);
    let other = json!({"cert": {"clientCert": {"name": "other", "key": "tls.crt"},
        "clientKey": {"name": "other", "key": "tls.key"}}});
    store("other", &other);
    team.wait_message("other", "client certificate");
    // What the certificate may not read is told, and the last good Secret stays.
    on_far("delete rolebinding reader -n default");
    team.wait_message("far", "may not read \"db\"");
    wait_data(&team.namespace, "far", &data(&[("a", &value)]));
}

#[test]
fn a_cluster_is_asked_under_no_identity_but_the_stores_own() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let (team, remote) = (Team::new(&plane, bao), Remote::new(&plane));
    remote.secret("db", &[("a", b"b")], &json!({}));
    let marker = format!("/tmp/{}", unique("ran"));
    let program = json!({"exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "touch", "args": [marker],
    }});
    team.secret(
        "kubeconfig",
        &[("kubeconfig", &remote.kubeconfig(&program))],
    );
    team.secret("no-token", &[("token", "not-a-token")]);
    let far = &remote.namespace.name;
    let token = |name: &str, namespace: &str| {
        let mut selector = json!({"name": name, "key": "token"});
        if !namespace.is_empty() {
            selector["namespace"] = json!(namespace);
        }
        json!({"auth": {"token": {"bearerToken": selector}}})
    };
    let rows = [
        (
            "exec",
            json!({"authRef": {"name": "kubeconfig"}}),
            "kubeconfig has exec, which is not served",
        ),
        ("nobody", json!({}), "lends its own identity to nobody"),
        (
            "anywhere",
            json!({"auth": {"serviceAccount": {"name": "app"}}}),
            "needs audiences",
        ),
        (
            "foreign",
            token("reader", far),
            "may not refer to another namespace",
        ),
        (
            "unknown",
            token("no-token", ""),
            "does not know the store's identity (401)",
        ),
    ];
    for (name, fields, says) in &rows {
        team.make("secretstores", &remote.store(name, fields));
        team.external(name, "1s", &wants(name));
        team.wait_message(name, says);
        assert_eq!(team.namespace.secret(name), None, "{name}");
    }
    assert!(!std::path::Path::new(&marker).exists(), "a program ran");
}
