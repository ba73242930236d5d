//! A queue that tells which secrets changed.

use super::*;

/// A queue of SQS.
struct Queue<'a> {
    world: &'a World,
    url: String,
}

impl<'a> Queue<'a> {
    fn new(world: &'a World, name: &str) -> Self {
        let made = world
            .moto
            .call("AmazonSQS.CreateQueue", &json!({"QueueName": name}))
            .unwrap();
        let url = made["QueueUrl"].as_str().unwrap().to_owned();
        Self { world, url }
    }

    /// What `EventBridge` would put there.
    fn send(&self, body: &str) {
        let message = json!({"QueueUrl": self.url, "MessageBody": body});
        let sent = self.world.moto.call("AmazonSQS.SendMessage", &message);
        sent.unwrap();
    }

    /// Messages that are there, or were received and not taken out.
    fn length(&self) -> u32 {
        let names = [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
        ];
        let wanted = json!({"QueueUrl": self.url, "AttributeNames": names});
        let answer = self
            .world
            .moto
            .call("AmazonSQS.GetQueueAttributes", &wanted);
        let answer = answer.unwrap();
        let number = |name: &str| -> u32 {
            answer["Attributes"][name]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        };
        names.map(number).into_iter().sum()
    }

    /// A ClusterSecretStore that listens to it.
    fn store(&self, more: &Value) -> String {
        let name = self.world.cluster_store(more);
        let path = format!("/apis/external-secrets.io/v1/clustersecretstores/{name}");
        let annotation =
            json!({"metadata": {"annotations": {"sealkit.dev/event-queue": self.url}}});
        self.world.api().merge(&path, &annotation).unwrap();
        name
    }
}

fn event_of_secret(id: &str) -> String {
    json!({
        "source": "aws.secretsmanager", "detail-type": "AWS API Call via CloudTrail",
        "detail": {"eventName": "PutSecretValue", "requestParameters": {"secretId": id}},
    })
    .to_string()
}

#[test]
fn a_message_brings_the_next_read_forward_and_nothing_else() {
    let world = World::start();
    let queue = Queue::new(&world, "changes");
    let secrets = queue.store(&json!({"service": "SecretsManager", "prefix": "shop/"}));
    let names = Queue::new(&world, "names");
    let parameters = names.store(&json!({"service": "ParameterStore"}));
    for name in ["shop/db", "shop/other"] {
        world.put(name, r#"{"a": "first"}"#);
    }
    let put_parameter = |value: &str| {
        let parameter = json!({"Name": "/shop/p", "Value": value, "Type": "SecureString",
            "Overwrite": true});
        world
            .moto
            .call("AmazonSSM.PutParameter", &parameter)
            .unwrap();
    };
    put_parameter("first");
    let of = |store: &str, remote: Value| {
        json!({"secretStoreRef": {"name": store, "kind": "ClusterSecretStore"},
            "data": [entry("a", &remote)]})
    };
    for name in ["db", "other"] {
        world.external(name, &of(&secrets, json!({"key": name, "property": "a"})));
    }
    world.external("p", &of(&parameters, json!({"key": "/shop/p"})));
    let first = data(&[("a", "first")]);
    for name in ["db", "other", "p"] {
        world.wait_data(name, &first);
    }
    let reads = || {
        let mut calls = world.moto.calls().unwrap();
        calls.retain(|call| {
            call.operation.contains("SecretValue") && !call.operation.starts_with("Put")
        });
        calls.len()
    };
    let before = reads();

    // What says nothing changes nothing, and is taken out of the queue.
    for noise in [
        "hello",
        "{}",
        r#"{"source": "aws.s3"}"#,
        &event_of_secret("bank/db"),
    ] {
        queue.send(noise);
    }
    wait_within(WAIT, "the queue is empty", || {
        (queue.length() == 0).then_some(())
    });
    assert_eq!(reads(), before);

    let change = json!({"SecretId": "shop/db", "SecretString": r#"{"a": "second"}"#});
    world
        .moto
        .call("secretsmanager.PutSecretValue", &change)
        .unwrap();
    queue.send(&event_of_secret("shop/db"));
    world.wait_data("db", &data(&[("a", "second")]));
    assert_eq!(reads(), before + 1, "the other one is not due");
    // A message may claim what it likes: the store has the say.
    queue.send(&event_of_secret("shop/other").replace("PutSecretValue", "DeleteSecret"));
    wait_within(WAIT, "it is read", || (reads() == before + 2).then_some(()));
    world.wait_data("other", &first);

    put_parameter("second");
    let event = json!({"source": "aws.ssm", "detail-type": "Parameter Store Change",
        "detail": {"name": "/shop/p", "operation": "Update"}});
    names.send(&event.to_string());
    world.wait_data("p", &data(&[("a", "second")]));
    wait_within(WAIT, "both queues are empty", || {
        (queue.length() + names.length() == 0).then_some(())
    });
}

#[test]
fn a_queue_that_fails_is_told_and_hinders_no_refresh() {
    let world = World::start();
    let queue = Queue::new(&world, "gone");
    let store = queue.store(&json!({}));
    world.put("shop/db", "first");
    world.external(
        "db",
        &json!({"secretStoreRef": {"name": store, "kind": "ClusterSecretStore"},
            "data": [entry("a", &json!({"key": "shop/db"}))]}),
    );
    world.wait_data("db", &data(&[("a", "first")]));
    let gone = json!({"QueueUrl": queue.url});
    world.moto.call("AmazonSQS.DeleteQueue", &gone).unwrap();
    wait_within(WAIT, "the log says so", || {
        let log = world.controller.log();
        log.contains("cannot read the store's queue").then_some(())
    });
    let change = json!({"SecretId": "shop/db", "SecretString": "second"});
    world
        .moto
        .call("secretsmanager.PutSecretValue", &change)
        .unwrap();
    world.force("db");
    world.wait_data("db", &data(&[("a", "second")]));
    // It comes back, and is listened to again.
    let again = Queue::new(&world, "gone");
    assert_eq!(again.url, queue.url);
    let change = json!({"SecretId": "shop/db", "SecretString": "third"});
    world
        .moto
        .call("secretsmanager.PutSecretValue", &change)
        .unwrap();
    again.send(&event_of_secret("shop/db"));
    wait_within(Duration::from_mins(2), "it follows", || {
        let secret = world.namespace.secret("db")?;
        (secret["data"] == data(&[("a", "third")])).then_some(())
    });
}
