//! How few calls many ExternalSecrets take.

use std::collections::BTreeSet;
use std::env;

use sealkit_rig::Fault;

use super::*;

/// Objects, the secrets that they read, and how many calls that may take: a small fleet, or the large
/// one of `make soak`.
fn fleet() -> (usize, usize, usize) {
    match env::var("SEALKIT_SOAK_FLEET") {
        Ok(_) => (10_000, 1_000, 60),
        Err(_) => (500, 100, 8),
    }
}

#[test]
fn a_fleet_on_few_secrets_takes_few_calls() {
    const LONG: Duration = Duration::from_mins(10);
    let (objects, secrets, most) = fleet();
    let mut world = World::start();
    for number in 0..secrets {
        world.put(
            &format!("team/{number}"),
            &json!({"a": format!("value {number}")}).to_string(),
        );
    }
    let role = json!({"role": "arn:aws:iam::123456789012:role/reader"});
    let name = unique("aws");
    let spec = |number: usize| {
        json!({
            "secretStoreRef": {"name": name, "kind": "ClusterSecretStore"},
            "data": [entry("a", &json!({"key": format!("team/{}", number % secrets), "property": "a"}))],
        })
    };
    for number in 0..objects {
        world.external(&format!("db-{number}"), &spec(number));
    }
    wait_within(LONG, "all wait for the store", || {
        let objects = world.api().list(&world.path("externalsecrets"));
        objects.iter().all(waits_for_store).then_some(())
    });
    let store = store("ClusterSecretStore", &name, &world.namespace.name, &role);
    let path = "/apis/external-secrets.io/v1/clustersecretstores";
    let start = std::time::Instant::now();
    world.api().create(path, &store).unwrap();
    wait_within(LONG, "all have their Secrets", || {
        (world.api().list(&world.namespace.secrets_path()).len() > objects).then_some(())
    });
    println!("{objects} Secrets after {:?}", start.elapsed());
    let mut calls = world.moto.calls().unwrap();
    // Other stores are checked.
    calls.retain(|call| call.operation != "GetCallerIdentity");
    let told: Vec<String> = calls
        .iter()
        .map(|call| {
            format!(
                "{} of {}",
                call.operation,
                call.content.matches("team/").count()
            )
        })
        .collect();
    println!("{told:#?}");
    assert!(calls.len() <= most, "{} calls: {told:#?}", calls.len());
    assert_eq!(world.calls("AssumeRole").len(), 1);
    for number in [0, secrets - 1, secrets, objects - 1] {
        let secret = world.namespace.secret(&format!("db-{number}")).unwrap();
        let value = format!("value {}", number % secrets);
        assert_eq!(secret["data"], data(&[("a", &value)]), "{number}");
    }
    world.controller.assert_lives_within_its_memory();
    world.api().delete(&format!("{path}/{name}")).unwrap();
}

fn waits_for_store(object: &Value) -> bool {
    object["status"].to_string().contains("does not exist")
}

/// Twelve ExternalSecrets of one key each, which a store makes due together.
fn twelve(world: &World, store_name: &str, keys: impl Fn(usize) -> String) {
    for number in 0..12 {
        let spec = json!({
            "secretStoreRef": {"name": store_name},
            "data": [entry("a", &json!({"key": keys(number)}))],
        });
        world.external(&format!("db-{number}"), &spec);
    }
    wait_within(WAIT, "all wait for the store", || {
        let all = (0..12).all(|number| waits_for_store(&world.look(&format!("db-{number}"))));
        all.then_some(())
    });
    let service = if store_name == "later" {
        "SecretsManager"
    } else {
        "ParameterStore"
    };
    world.store(store_name, &json!({"service": service}));
}

#[test]
fn one_bad_secret_of_a_batch_fails_alone() {
    let world = World::start();
    for number in 0..10 {
        world.put(&format!("team/{number}"), &format!("value {number}"));
    }
    world.put("team/10", "deleted");
    world
        .moto
        .call(
            "secretsmanager.DeleteSecret",
            &json!({"SecretId": "team/10"}),
        )
        .unwrap();
    twelve(&world, "later", |number| format!("team/{number}"));
    for number in 0..10 {
        let value = format!("value {number}");
        world.wait_data(&format!("db-{number}"), &data(&[("a", &value)]));
    }
    world.wait_message("db-10", "AWS has no \"team/10\" (InvalidRequestException)");
    world.wait_message(
        "db-11",
        "AWS has no \"team/11\" (ResourceNotFoundException)",
    );
    assert!(!world.calls("BatchGetSecretValue").is_empty());
    assert!(
        world.calls("GetSecretValue").len() <= 4,
        "those that came alone"
    );
}

#[test]
fn without_the_right_to_batches_each_secret_is_read_by_itself() {
    let world = World::start();
    for number in 0..12 {
        world.put(&format!("team/{number}"), &format!("value {number}"));
    }
    world.proxy.set(Fault::Refuse {
        text: "secretsmanager.BatchGetSecretValue",
        status: 400,
        body: r#"{"__type":"AccessDeniedException","Message":"not authorized"}"#,
    });
    twelve(&world, "later", |number| format!("team/{number}"));
    for number in 0..12 {
        let value = format!("value {number}");
        world.wait_data(&format!("db-{number}"), &data(&[("a", &value)]));
    }
    let refused = world
        .controller
        .log()
        .matches("BatchGetSecretValue")
        .count();
    assert_eq!(refused, 0, "it is no matter of a log");
    assert_eq!(world.calls("GetSecretValue").len(), 12);
    // From now on nobody asks for many at once.
    world.proxy.set(Fault::None);
    for number in 0..12 {
        world.force(&format!("db-{number}"));
    }
    wait_within(WAIT, "all are read again", || {
        (world.calls("GetSecretValue").len() >= 24).then_some(())
    });
    assert_eq!(world.calls("BatchGetSecretValue"), []);
}

#[test]
fn one_secret_that_may_not_be_read_ends_no_batches() {
    const ARN: &str = "arn:aws:secretsmanager:eu-west-1:999999999999:secret:bank-AbC123";
    let world = World::start();
    for number in 0..11 {
        world.put(&format!("team/{number}"), &format!("value {number}"));
    }
    // As AWS does with one foreign secret among many.
    world.proxy.set(Fault::Refuse {
        text: ARN,
        status: 400,
        body: r#"{"__type":"AccessDeniedException","Message":"not authorized"}"#,
    });
    twelve(&world, "later", |number| match number {
        11 => ARN.to_owned(),
        _ => format!("team/{number}"),
    });
    for number in 0..11 {
        let value = format!("value {number}");
        world.wait_data(&format!("db-{number}"), &data(&[("a", &value)]));
    }
    world.wait_message("db-11", "AWS refuses GetSecretValue of \"arn:aws");
    let alone = world.calls("GetSecretValue").len();
    for number in 0..12 {
        world.force(&format!("db-{number}"));
    }
    let batched = || {
        let calls = world.calls("BatchGetSecretValue");
        let ids = calls
            .iter()
            .map(|call| call.content.matches("team/").count());
        ids.sum::<usize>()
    };
    wait_within(WAIT, "all others are read again", || {
        let again = batched() + world.calls("GetSecretValue").len() - alone;
        (again >= 11).then_some(())
    });
    assert!(batched() >= 6, "{} with one call", batched());
}

#[test]
fn parameters_are_read_ten_at_a_time() {
    let world = World::start();
    for number in 0..11 {
        let parameter = json!({"Name": format!("/team/{number}"), "Value": format!("value {number}"), "Type": "SecureString"});
        world
            .moto
            .call("AmazonSSM.PutParameter", &parameter)
            .unwrap();
    }
    twelve(&world, "later-parameters", |number| {
        format!("/team/{number}")
    });
    for number in 0..11 {
        let value = format!("value {number}");
        world.wait_data(&format!("db-{number}"), &data(&[("a", &value)]));
    }
    world.wait_message("db-11", "AWS has no \"/team/11\" (ParameterNotFound)");
    let batches = world.calls("GetParameters");
    assert!(
        !batches.is_empty() && batches.len() <= 4,
        "{}",
        batches.len()
    );
    let names = |call: &MotoCall| {
        let call: Value = serde_json::from_str(&call.content).unwrap();
        call["Names"].as_array().unwrap().len()
    };
    assert!(batches.iter().all(|call| (2..=10).contains(&names(call))));
    let keys: BTreeSet<_> = batches.iter().map(|call| call.access_key.clone()).collect();
    assert_eq!(keys, BTreeSet::from([Some(KEY.to_owned())]));
}
