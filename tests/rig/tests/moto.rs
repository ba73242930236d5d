//! moto, which answers as AWS does: what tests of stores in AWS stand on.
#![allow(clippy::unwrap_used)] // a failed step should end the test right there

use sealkit_rig::Moto;
use serde_json::json;

#[test]
fn secrets_are_kept_and_calls_of_others_are_counted() {
    let moto = Moto::shared().unwrap();
    let secret = json!({"Name": "rig/a", "SecretString": "one"});
    moto.call("secretsmanager.CreateSecret", &secret).unwrap();
    let read = json!({"SecretId": "rig/a"});
    let answer = moto.call("secretsmanager.GetSecretValue", &read).unwrap();
    assert_eq!(answer["SecretString"], "one");
    let parameter = json!({"Name": "/rig/a", "Value": "two", "Type": "SecureString"});
    moto.call("AmazonSSM.PutParameter", &parameter).unwrap();
    let read = json!({"Name": "/rig/a", "WithDecryption": true});
    let answer = moto.call("AmazonSSM.GetParameter", &read).unwrap();
    assert_eq!(answer["Parameter"]["Value"], "two");
    let user = moto.iam("CreateUser", &[("UserName", "rig")]);
    assert!(user.unwrap().contains("<UserName>rig</UserName>"));
    let missing = json!({"SecretId": "rig/b"});
    let error = moto
        .call("secretsmanager.GetSecretValue", &missing)
        .unwrap_err();
    assert!(
        error.to_string().contains("ResourceNotFoundException"),
        "{error}"
    );
    assert_eq!(moto.calls().unwrap(), [], "the rig's own");
}

#[test]
fn a_strict_server_refuses_what_aws_refuses() {
    Moto::test_strict().unwrap();
    let moto = Moto::start_strict().unwrap();
    let secret = json!({"Name": "rig/a", "SecretString": "one"});
    moto.call("secretsmanager.CreateSecret", &secret).unwrap();
}
