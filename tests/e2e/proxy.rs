//! Behind a proxy: which connections of the controller and of `seal` go through it, and what they say
//! where it does not lead to a server, or where TLS fails.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sealkit_rig::{ForwardProxy, Manners, OpenBao};
use sealkit_tests::canary::unique_value;
use sealkit_tests::controller::{Controller, Flags};
use sealkit_tests::external::{Team, WAIT, property};
use sealkit_tests::namespace::{data, ready_condition};
use sealkit_tests::plane::{Own, Plane, Shared};
use sealkit_tests::program::program;
use sealkit_tests::wait::wait_within;
use serde_json::{Value, json};

/// What refuses to lead anywhere says so of itself.
const NO_WAY: &str = "the controller's proxy does not lead to";

/// The port of a URL.
fn port(url: &str) -> u16 {
    url.rsplit(':').next().unwrap().parse().unwrap()
}

/// A proxy that knows where OpenBao's far name leads.
fn forward(bao: &OpenBao) -> ForwardProxy {
    let address = SocketAddr::from(([127, 0, 0, 1], port(&bao.tls_url())));
    ForwardProxy::start(&[(OpenBao::FAR_NAME, address)]).unwrap()
}

/// OpenBao under the name that only the proxy knows.
fn far(bao: &OpenBao) -> String {
    format!("https://{}:{}", OpenBao::FAR_NAME, port(&bao.tls_url()))
}

/// A controller with these variables, which leads.
fn controller(plane: &Plane, environment: &[(&'static str, String)]) -> Controller {
    let mut controller = plane.controller(&Flags {
        environment: environment.to_vec(),
        ..Flags::default()
    });
    controller.wait_leading();
    controller
}

/// A store of the team at this address, and an ExternalSecret that reads `db`'s `a` from it.
fn read_from(team: &Team, name: &str, server: &str, ca: &str) {
    let mut store = team.store(name, server);
    store["spec"]["provider"]["vault"]["caBundle"] = json!(BASE64_STANDARD.encode(ca));
    team.make("secretstores", &store);
    let wants = json!({"secretStoreRef": {"name": name}, "data": [property("a", "db", "a")]});
    team.external(name, "1s", &wants);
}

fn wait_value(team: &Team, name: &str, value: &str) {
    wait_within(WAIT, &format!("{name} has its value"), || {
        let secret = team.namespace.secret(name)?;
        (secret["data"] == data(&[("a", value)])).then_some(())
    });
}

#[test]
fn a_store_is_read_through_connect_and_through_socks5_by_name() {
    let (plane, bao) = (Own::take(), OpenBao::shared().unwrap());
    let proxy = forward(bao);
    let far = far(bao);
    for (url, protocol) in [(proxy.http(), "CONNECT"), (proxy.socks(), "SOCKS5")] {
        let mut controller = controller(&plane, &[("HTTPS_PROXY", url)]);
        let team = Team::new(&plane, bao);
        let value = unique_value();
        let vault = &team.vault;
        vault.put(&team.mount, "db", &json!({"a": value})).unwrap();
        read_from(&team, "far", &far, &bao.tls().ca);
        wait_value(&team, "far", &value);
        let place = far.trim_start_matches("https://");
        let asked = format!("{protocol} {place}");
        assert!(proxy.asked().contains(&asked), "{:?}", proxy.asked());
        controller.stop();
    }
    // The API server is on this machine, and so is the OpenBao of the teams' other store.
    let far_only = |asked: &String| asked.contains(OpenBao::FAR_NAME);
    assert!(proxy.asked().iter().all(far_only), "{:?}", proxy.asked());
}

#[test]
fn no_proxy_is_respected_and_a_proxy_that_refuses_is_named() {
    let (plane, bao) = (Own::take(), OpenBao::shared().unwrap());
    let proxy = forward(bao);
    let password = "canary-of-a-proxy";
    let url = |user: &str| proxy.http().replace("http://", &format!("http://{user}"));
    let ways = [
        ("corp.example", Manners::Connect, "Vault "),
        (
            ".svc,10.0.0.0/8",
            Manners::Refuse,
            "it does not connect to this server",
        ),
        (
            "other.example",
            Manners::Authenticate("me:x"),
            "it wants other credentials",
        ),
    ];
    for (excluded, manners, said) in ways {
        let before = proxy.asked().len();
        let is_direct = manners == Manners::Connect;
        proxy.set(manners);
        let environment = [
            ("HTTPS_PROXY", url(&format!("me:{password}@"))),
            ("NO_PROXY", excluded.to_owned()),
        ];
        let mut controller = controller(&plane, &environment);
        let team = Team::new(&plane, bao);
        read_from(&team, "far", &far(bao), &bao.tls().ca);
        let object = team.wait_message("far", said);
        let message = ready_condition(&object)["message"].as_str().unwrap();
        assert_eq!(message.contains(NO_WAY), !is_direct, "{message}");
        assert_eq!(proxy.asked().len() == before, is_direct, "{excluded}");
        assert!(!message.contains("canary") && !controller.log().contains(password));
        controller.stop();
    }
    // With its credentials it leads there; and one that does not run is told as such.
    proxy.set(Manners::Authenticate("me:x"));
    let environment = [("HTTPS_PROXY", url("me:x@"))];
    let mut first = controller(&plane, &environment);
    let (team, value) = (Team::new(&plane, bao), unique_value());
    let vault = &team.vault;
    vault.put(&team.mount, "db", &json!({"a": value})).unwrap();
    read_from(&team, "far", &far(bao), &bao.tls().ca);
    wait_value(&team, "far", &value);
    first.stop();
    let gone = proxy.socks();
    drop(proxy);
    let _second = controller(&plane, &[("HTTPS_PROXY", gone)]);
    let object = team.wait_message("far", "it cannot be reached");
    let message = ready_condition(&object)["message"].as_str().unwrap();
    assert!(message.contains(NO_WAY), "{message}");
}

#[test]
fn a_certificate_that_has_expired_is_named() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let team = Team::new(&plane, bao);
    read_from(&team, "expired", &bao.expired_tls_url(), &bao.tls().ca);
    team.wait_message("expired", "the TLS certificate of Vault has expired");
}

/// A copy of a kubeconfig with these fields of its cluster.
fn with_cluster(kubeconfig: &Path, folder: &Path, fields: &Value) -> PathBuf {
    let mut config: Value = serde_json::from_slice(&fs::read(kubeconfig).unwrap()).unwrap();
    for (field, value) in fields.as_object().unwrap() {
        config["clusters"][0]["cluster"][field] = value.clone();
    }
    let path = folder.join("kubeconfig.json");
    fs::write(&path, config.to_string()).unwrap();
    path
}

/// The API server under a name that only a proxy knows.
fn far_cluster(plane: &Plane) -> (ForwardProxy, Value) {
    let port = port(plane.servers.url());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let proxy = ForwardProxy::start(&[("api.corp.example", address)]).unwrap();
    let server = format!("https://api.corp.example:{port}");
    (
        proxy,
        json!({"server": server, "tls-server-name": "localhost"}),
    )
}

#[test]
fn the_controller_reaches_its_api_server_through_a_proxy() {
    let plane = Own::take();
    let (proxy, mut cluster) = far_cluster(&plane);
    let folder = tempfile::tempdir().unwrap();
    let ours = &plane.controller_kubeconfig;
    let by_environment = with_cluster(ours, folder.path(), &cluster);
    let flags = Flags {
        environment: vec![("HTTPS_PROXY", proxy.http())],
        ..Flags::default()
    };
    let mut first = Controller::start(&by_environment, &plane.logs(), &flags);
    first.wait_leading();
    first.stop();
    cluster["proxy-url"] = json!(proxy.socks());
    let by_kubeconfig = with_cluster(ours, folder.path(), &cluster);
    let flags = Flags::default();
    let mut second = Controller::start(&by_kubeconfig, &plane.logs(), &flags);
    second.wait_leading();
    let asked = proxy.asked();
    let by = |protocol: &str| asked.iter().any(|asked| asked.starts_with(protocol));
    assert!(
        by("CONNECT api.corp.example:") && by("SOCKS5 api.corp.example:"),
        "{asked:?}"
    );
    second.stop();
    proxy.set(Manners::Refuse);
    let third = Controller::start(&by_kubeconfig, &plane.logs(), &flags);
    wait_within(WAIT, "the proxy is named", || {
        let log = third.log();
        (log.contains(NO_WAY) && log.contains("it does not connect to this server")).then_some(())
    });
}

/// What `seal keys list` says, and whether it worked.
fn list(kubeconfig: &Path, folder: &Path, environment: &[(&str, String)]) -> (bool, String) {
    let mut command = Command::new(program("seal"));
    for variable in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
        command.env_remove(variable);
    }
    let output = command
        .args(["keys", "list"])
        .current_dir(folder)
        .env("KUBECONFIG", kubeconfig)
        .env("HOME", folder)
        .envs(environment.iter().map(|(name, value)| (*name, value)))
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    (output.status.success(), text)
}

#[test]
fn seal_goes_through_a_proxy_and_says_what_it_does_not_do() {
    let plane = Shared::get();
    let (proxy, cluster) = far_cluster(&plane);
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = with_cluster(plane.servers.kubeconfig(), folder.path(), &cluster);
    let run = |environment: &[(&str, String)]| list(&kubeconfig, folder.path(), environment);
    for url in [proxy.http(), proxy.socks()] {
        let (works, said) = run(&[("HTTPS_PROXY", url)]);
        assert!(works, "{said}");
    }
    let asked = proxy.asked();
    assert!(
        asked
            .iter()
            .any(|asked| asked.starts_with("SOCKS5 api.corp.example:")),
        "{asked:?}"
    );
    let with_password = proxy.http().replace("http://", "http://me:canary-x@");
    for (manners, why) in [
        (Manners::Refuse, "it does not connect to this server"),
        (Manners::Authenticate("me:y"), "it wants other credentials"),
    ] {
        proxy.set(manners);
        let (works, said) = run(&[("HTTPS_PROXY", with_password.clone())]);
        assert!(
            !works && said.contains("the proxy does not lead to the cluster"),
            "{said}"
        );
        assert!(said.contains(why) && !said.contains("canary"), "{said}");
    }
}

#[test]
fn seal_tells_failures_of_tls_apart() {
    let (plane, bao) = (Shared::get(), OpenBao::shared().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let ca = |pem: &str| json!(BASE64_STANDARD.encode(pem));
    let other_ca = json!({"certificate-authority-data": ca(&bao.tls().ca)});
    let other_name = json!({"tls-server-name": "other.example"});
    let expired = json!({
        "server": bao.expired_tls_url(), "certificate-authority-data": ca(&bao.tls().ca),
    });
    for (cluster, why, hint) in [
        (
            other_ca,
            "an unknown authority signed it",
            "certificate-authority",
        ),
        (other_name, "it is for another name", "tls-server-name"),
        (expired, "it has expired", "renew it"),
    ] {
        let kubeconfig = with_cluster(plane.servers.kubeconfig(), folder.path(), &cluster);
        let (works, said) = list(&kubeconfig, folder.path(), &[]);
        assert!(
            !works && said.contains("the cluster's certificate is not accepted"),
            "{said}"
        );
        assert!(said.contains(why) && said.contains(hint), "{said}");
    }
}
