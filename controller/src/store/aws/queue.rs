//! A queue of SQS that `EventBridge` fills with changes of secrets and parameters. A message only brings
//! the next read forward: nothing that it says gets into a Secret.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Config;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use aws_smithy_types::timeout::TimeoutConfig;
use serde_json::Value;

use super::endpoint::Service;
use super::failure::Failure;
use super::identity::Identity;
use super::{CONNECT, Calls, transport};
use crate::store::StoreError;

/// Seconds that a call waits for a message: the most that SQS allows.
const WAIT: i32 = 20;
/// Messages of one call: the most that SQS allows.
const AT_ONCE: i32 = 10;
/// A message of `EventBridge` has 256 KiB at most.
const LARGEST: usize = 256 * 1024;

/// The messages of one call.
#[derive(Debug, Default)]
pub struct Changes {
    /// Names or ARNs of what changed.
    changed: Vec<String>,
    /// What SQS wants to hear once they were acted upon.
    receipts: Vec<String>,
}

impl Changes {
    /// Did this secret or parameter change? The key is as the service has it: a name or an ARN.
    pub fn concern(&self, key: &str) -> bool {
        let mut changed = self.changed.iter();
        changed.any(|changed| names(changed).any(|name| names(key).any(|of| of == name)))
    }
}

/// A queue under one identity.
pub(super) struct Queue {
    client: Client,
    url: String,
}

impl Queue {
    /// A client of the region's SQS. The URL names the queue, and leads to no other host.
    pub(super) fn new(url: &str, identity: &Identity, calls: &Calls) -> Result<Self, StoreError> {
        let seconds = u64::try_from(WAIT).unwrap_or_default();
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .operation_timeout(Duration::from_secs(2 * seconds))
            .build();
        let mut config = Config::builder()
            .behavior_version(Calls::behavior())
            .region(calls.region.clone())
            .http_client(transport::client()?)
            .retry_config(calls.retries.clone())
            .timeout_config(timeouts)
            .credentials_provider(identity.credentials.clone());
        config.set_endpoint_url(Service::Queues.endpoint()?);
        Ok(Self {
            client: Client::from_conf(config.build()),
            url: url.to_owned(),
        })
    }

    /// Waits a while for messages.
    pub(super) async fn receive(&self) -> Result<Changes, StoreError> {
        let call = self.client.receive_message().queue_url(&self.url);
        let call = call.max_number_of_messages(AT_ONCE).wait_time_seconds(WAIT);
        let answer = call.send().await;
        let answer = answer
            .map_err(|error| Failure::of(&error).while_reading("ReceiveMessage", &self.url))?;
        let mut changes = Changes::default();
        for message in answer.messages.unwrap_or_default() {
            let body = message.body.unwrap_or_default();
            changes.changed.extend(changed(&body));
            changes.receipts.extend(message.receipt_handle);
        }
        Ok(changes)
    }

    /// Takes messages out of the queue, which would come again otherwise.
    pub(super) async fn remove(&self, changes: &Changes) -> Result<(), StoreError> {
        if changes.receipts.is_empty() {
            return Ok(());
        }
        let mut call = self.client.delete_message_batch().queue_url(&self.url);
        for (number, receipt) in changes.receipts.iter().enumerate() {
            let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
            // Both are there, which is all that is asked for.
            if let Ok(entry) = entry.receipt_handle(receipt).build() {
                call = call.entries(entry);
            }
        }
        let answer = call.send().await;
        let failed = |error| Failure::of(&error).while_reading("DeleteMessageBatch", &self.url);
        answer.map(drop).map_err(failed)
    }
}

/// What changed, by an event of `EventBridge`: the name or ARN of a secret or parameter. `None` for all
/// other messages.
fn changed(body: &str) -> Option<String> {
    if body.len() > LARGEST {
        return None;
    }
    let event: Value = serde_json::from_str(body).ok()?;
    let detail = &event["detail"];
    let places: [&Value; 5] = match event["source"].as_str()? {
        // By CloudTrail: calls name the secret as the caller did, services of AWS name its ARN.
        "aws.secretsmanager" => [
            &detail["responseElements"]["arn"],
            &detail["responseElements"]["aRN"],
            &detail["requestParameters"]["secretId"],
            &detail["additionalEventData"]["SecretId"],
            &Value::Null,
        ],
        "aws.ssm" => [
            &detail["name"],
            &detail["requestParameters"]["name"],
            &Value::Null,
            &Value::Null,
            &Value::Null,
        ],
        _ => return None,
    };
    let mut texts = places.iter().filter_map(|place| place.as_str());
    texts.find(|text| !text.is_empty()).map(str::to_owned)
}

/// The names under which a secret or parameter may be meant: an ARN ends with the name, that of a secret
/// with six more characters. In front of the name of a parameter, a slash makes no difference.
fn names(id: &str) -> impl Iterator<Item = &str> {
    let name = ["secret:", "parameter/"].into_iter().find_map(|word| {
        let (arn, name) = id.split_once(word)?;
        arn.starts_with("arn:").then_some(name)
    });
    let short = name.and_then(|name| {
        let (short, suffix) = name.rsplit_once('-')?;
        let is_suffix = suffix.len() == 6 && suffix.bytes().all(|b| b.is_ascii_alphanumeric());
        is_suffix.then_some(short)
    });
    let plain = name.unwrap_or(id);
    [Some(plain), short]
        .into_iter()
        .flatten()
        .map(|name| name.strip_prefix('/').unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(event: &Value) -> Changes {
        Changes {
            changed: changed(&event.to_string()).into_iter().collect(),
            receipts: Vec::new(),
        }
    }

    #[test]
    fn events_name_a_secret_in_many_ways() {
        const ARN: &str = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:shop/db-a1B2c3";
        let by_trail = |detail: Value| json!({"source": "aws.secretsmanager", "detail": detail});
        for event in [
            by_trail(json!({"eventName": "PutSecretValue",
                "requestParameters": {"secretId": "shop/db"}, "responseElements": null})),
            by_trail(json!({"requestParameters": {"secretId": ARN}})),
            by_trail(
                json!({"requestParameters": {"secretId": "x"}, "responseElements": {"arn": ARN}}),
            ),
            by_trail(json!({"eventName": "RotationSucceeded",
                "additionalEventData": {"SecretId": ARN}})),
        ] {
            let changes = changes(&event);
            for key in ["shop/db", ARN, ARN.trim_end_matches("-a1B2c3")] {
                assert!(changes.concern(key), "{key}: {event}");
            }
            for key in ["shop/db2", "db", "shop/db-a1B2c4", ""] {
                assert!(!changes.concern(key), "{key}: {event}");
            }
        }
        let parameter = json!({"source": "aws.ssm", "detail-type": "Parameter Store Change",
            "detail": {"name": "/shop/db", "operation": "Update", "type": "SecureString"}});
        let parameter = changes(&parameter);
        assert!(parameter.concern("/shop/db") && !parameter.concern("/shop"));
        assert!(parameter.concern("arn:aws:ssm:eu-west-1:111122223333:parameter/shop/db"));
    }

    #[test]
    fn what_is_no_event_of_a_secret_says_nothing() {
        let large = format!(
            "{{\"source\": \"aws.ssm\", \"x\": \"{}\"}}",
            "x".repeat(LARGEST)
        );
        for body in [
            "",
            "hello",
            "[]",
            "{}",
            r#"{"source": "aws.s3", "detail": {"name": "a"}}"#,
            r#"{"source": "aws.ssm", "detail": {"name": 7}}"#,
            r#"{"source": "aws.ssm", "detail": {"name": ""}}"#,
            &"[".repeat(100_000),
            &large,
        ] {
            assert_eq!(changed(body), None, "{body:.40}");
        }
    }
}
