//! What an ExternalSecret is made of besides its values: a change is seen at once, whatever the interval.

use std::time::Duration;

use sealkit_rig::OpenBao;
use sealkit_tests::canary::unique_value;
use sealkit_tests::external::{Team, property};
use sealkit_tests::namespace::{condition, data};
use sealkit_tests::plane::{Own, Shared};
use sealkit_tests::wait::wait_for;
use serde_json::{Value, json};

/// Puts one value into the vault of a team, under `db`.
fn put(team: &Team, value: &str) {
    let secret = json!({"a": value});
    team.vault.put(&team.mount, "db", &secret).unwrap();
}

/// A team on the shared plane, with this value.
fn team(plane: &Shared, value: &str) -> Team {
    let team = Team::new(plane, OpenBao::shared().unwrap());
    put(&team, value);
    team
}

/// Writes the `ConfigMap` with the template `file`.
fn template(team: &Team, text: &str) {
    let collection = format!("/api/v1/namespaces/{}/configmaps", team.namespace.name);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "templates"},
        "data": {"file": text}});
    let path = format!("{collection}/templates");
    if team.api().get(&path).is_some() {
        team.api().merge(&path, &map).unwrap();
    } else {
        team.api().create(&collection, &map).unwrap();
    }
}

fn templated() -> Value {
    let items = json!([{"key": "file"}]);
    let from = json!([{"configMap": {"name": "templates", "items": items}}]);
    json!({"data": [property("a", "db", "a")], "target": {"template": {"templateFrom": from}}})
}

fn wait_text(team: &Team, text: &str) {
    let expected = data(&[("file", text)]);
    team.namespace
        .wait_secret("db", "it follows its template", |secret| {
            secret["data"] == expected
        });
}

#[test]
fn a_template_that_changes_goes_or_comes_back_is_followed() {
    let plane = Shared::get();
    let value = unique_value();
    let team = team(&plane, &value);
    template(&team, "one {{ .a }}");
    team.external("db", "1h", &templated());
    wait_text(&team, &format!("one {value}"));
    template(&team, "two {{ .a }}");
    wait_text(&team, &format!("two {value}"));
    let path = format!(
        "/api/v1/namespaces/{}/configmaps/templates",
        team.namespace.name
    );
    team.api().delete(&path).unwrap();
    team.wait_message("db", "ConfigMap templates: it does not exist");
    wait_text(&team, &format!("two {value}"));
    template(&team, "three {{ .a }}");
    wait_text(&team, &format!("three {value}"));
}

#[test]
fn a_template_is_followed_after_a_restart_that_refreshes_nothing() {
    let plane = Own::take();
    let bao = OpenBao::start().unwrap();
    let controller = plane.leading_controller();
    let team = Team::new(&plane, &bao);
    let (first, second) = (unique_value(), unique_value());
    put(&team, &first);
    template(&team, "one {{ .a }}");
    team.external("db", "1h", &templated());
    wait_text(&team, &format!("one {first}"));
    wait_for("it is Ready", || {
        (condition(&team.look("db"), "Ready") == Some("True")).then_some(())
    });
    drop(controller);
    put(&team, &second);
    let _controller = plane.leading_controller();
    // Time for the list of ConfigMaps, which must not count as a change.
    std::thread::sleep(Duration::from_secs(3));
    wait_text(&team, &format!("one {first}"));
    template(&team, "two {{ .a }}");
    wait_text(&team, &format!("two {second}"));
}

#[test]
fn credentials_that_are_replaced_are_used_at_once() {
    let plane = Shared::get();
    let value = unique_value();
    let team = team(&plane, &value);
    let spec = json!({"data": [property("a", "db", "a")]});
    team.external("db", "1s", &spec);
    team.namespace.wait_secret("db", "it is made", |secret| {
        secret["data"] == data(&[("a", &value)])
    });
    // The old token is still good: only who reads the Secret again can be refused.
    team.secret("vault-token", &[("token", "s.wrong")]);
    team.wait_message("db", "(403)");
    let root = OpenBao::shared().unwrap().root_token();
    team.secret("vault-token", &[("token", root)]);
    wait_for("it is Ready again", || {
        (condition(&team.look("db"), "Ready") == Some("True")).then_some(())
    });
}
