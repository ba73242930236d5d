//! The Parameter Store.

use sealkit_rig::Fault;
use sealkit_tests::canary::unique_value;

use super::*;

fn put(world: &World, name: &str, value: &str, tags: &Value) {
    let parameter = json!({"Name": name, "Value": value, "Type": "SecureString", "Tags": tags});
    world
        .moto
        .call("AmazonSSM.PutParameter", &parameter)
        .unwrap();
}

#[test]
fn parameters_are_decrypted_and_have_versions_properties_and_tags() {
    let world = World::start();
    let (old, new) = (unique_value(), unique_value());
    put(
        &world,
        "/team/db",
        &old,
        &json!([{"Key": "owner", "Value": "web"}]),
    );
    let next = json!({"Name": "/team/db", "Value": new, "Type": "SecureString", "Overwrite": true});
    world.moto.call("AmazonSSM.PutParameter", &next).unwrap();
    put(
        &world,
        "/team/json",
        r#"{"user": "shop", "port": 5432, "a.b": "c"}"#,
        &json!([]),
    );
    world.store(
        "prefixed",
        &json!({"service": "ParameterStore", "prefix": "/team/"}),
    );
    world.external("db", &json!({
        "secretStoreRef": {"name": "prefixed"},
        "dataFrom": [{"extract": {"key": "json"}}],
        "data": [
            entry("now", &json!({"key": "db"})),
            entry("before", &json!({"key": "db", "version": "1"})),
            entry("dotted", &json!({"key": "json", "property": "a.b"})),
            entry("owner", &json!({"key": "db", "property": "owner", "metadataPolicy": "Fetch"})),
        ],
    }));
    world.wait_data(
        "db",
        &data(&[
            ("user", "shop"),
            ("port", "5432"),
            ("a.b", "c"),
            ("now", &new),
            ("before", &old),
            ("dotted", "c"),
            ("owner", "web"),
        ]),
    );
    let missing = json!({"secretStoreRef": {"name": "parameters"}, "data": [entry("a", &json!({"key": "/no"}))]});
    world.external("missing", &missing);
    world.wait_message("missing", "AWS has no \"/no\" (ParameterNotFound)");
    world.assert_quiet(&[&old, &new, SECRET_KEY]);
}

#[test]
fn a_search_finds_by_path_and_by_tags_with_and_without_the_right_to_paths() {
    let world = World::start();
    for number in 0..25 {
        let environment = if number % 5 == 0 { "prod" } else { "test" };
        let tags = json!([{"Key": "env", "Value": environment}]);
        put(
            &world,
            &format!("/shop/{number}"),
            &format!("value {number}"),
            &tags,
        );
    }
    put(&world, "/other/1", "elsewhere", &json!([]));
    let find = |find: &Value| json!({"secretStoreRef": {"name": "parameters"}, "dataFrom": [{"find": find}]});
    let by_name = find(&json!({"path": "/shop", "name": {"regexp": "/1[0-9]$"}}));
    let ten = (10..20).map(|number| (format!("_shop_{number}"), format!("value {number}")));
    let ten: Vec<(String, String)> = ten.collect();
    let ten: Vec<(&str, &str)> = ten
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    world.external("name", &by_name);
    world.wait_data("name", &data(&ten));
    assert!(
        world.calls("GetParametersByPath").len() >= 3,
        "pages of ten"
    );
    assert_eq!(world.calls("GetParameters"), []);
    world.external("tags", &find(&json!({"tags": {"env": "prod"}})));
    let five =
        [0, 5, 10, 15, 20].map(|number| (format!("_shop_{number}"), format!("value {number}")));
    let five = five
        .each_ref()
        .map(|(key, value)| (key.as_str(), value.as_str()));
    world.wait_data("tags", &data(&five));
    let nothing = json!({"path": "/shop", "name": {"regexp": "^nothing"}});
    world.external("none", &find(&nothing));
    world.wait_message("none", "find matches no secret");

    world.proxy.set(Fault::Refuse {
        text: "AmazonSSM.GetParametersByPath",
        status: 400,
        body: r#"{"__type":"AccessDeniedException","Message":"not authorized"}"#,
    });
    world.external("described", &by_name);
    world.wait_data("described", &data(&ten));
}

#[test]
fn a_search_reads_all_pages_of_a_path() {
    // AWS gives ten parameters a page, and moto takes some milliseconds for each that is put.
    const MANY: usize = 301;
    let world = World::start();
    for number in 0..MANY {
        put(
            &world,
            &format!("/many/{number}"),
            &format!("value {number}"),
            &json!([]),
        );
    }
    world.external(
        "many",
        &json!({
            "secretStoreRef": {"name": "parameters"},
            "dataFrom": [{"find": {"path": "/many", "name": {"regexp": "[0-9]+$"}}}],
        }),
    );
    let values: Vec<_> = (0..MANY)
        .map(|number| (format!("_many_{number}"), format!("value {number}")))
        .collect();
    let values: Vec<_> = values
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    world.wait_data("many", &data(&values));
    assert_eq!(world.calls("GetParametersByPath").len(), MANY.div_ceil(10));
    assert_eq!(world.calls("GetParameter"), []);
}
