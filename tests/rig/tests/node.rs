//! A node runs pods, and leaves nothing behind.
#![allow(clippy::unwrap_used)] // a failed step should end the test right there

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sealkit_rig::Node;
use serde_json::json;

#[test]
fn a_node_runs_a_pod_and_leaves_nothing_behind() {
    if let Some(reason) = Node::missing() {
        assert!(std::env::var_os("CI").is_none(), "{reason}");
        eprintln!("skipped: {reason}");
        return;
    }
    let before = Machine::look();
    let (node, control_plane) = Node::start().unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "sleeper"},
        "spec": {"containers": [{"name": "sleeper", "image": "sealkit.dev/pause:1"}]},
    });
    control_plane
        .kubectl_with_input(&["apply", "--server-side", "-f", "-"], &pod.to_string())
        .unwrap();
    let ready = ["wait", "--for=condition=Ready", "pod/sleeper"];
    control_plane.kubectl(&ready).unwrap();

    let inside = |program: &str, argument: &str| {
        let output = node.command(program).arg(argument).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let namespaces = ["pid", "net", "mnt"]
        .map(|kind| inside("readlink", &format!("/proc/1/ns/{kind}")))
        .to_vec();
    let started = processes_in(&namespaces);
    // Those of the pod have namespaces of their own.
    for name in ["containerd", "kubelet", "kube-proxy", "kube-apiserver"] {
        assert!(started.contains(name), "{name}: {started:?}");
    }
    let pods = inside("pgrep", "pause");
    assert_eq!(pods.lines().count(), 2, "the pod and its sandbox");
    let groups = groups_of("kubelet", &namespaces);
    assert!(groups.iter().all(|group| Path::new(group).exists()));
    assert!(groups.len() > 1, "{groups:?}");

    drop(control_plane);
    node.stop().unwrap();
    assert_eq!(processes_in(&namespaces), BTreeSet::new());
    for group in groups {
        assert!(!Path::new(&group).exists(), "{group} is left");
    }
    assert_eq!(Machine::look(), before);
}

/// The names of the processes in one of these namespaces.
fn processes_in(namespaces: &[String]) -> BTreeSet<String> {
    all_in(namespaces)
        .into_iter()
        .map(|(_, name)| name)
        .collect()
}

fn all_in(namespaces: &[String]) -> Vec<(String, String)> {
    let ids = fs::read_dir("/proc").unwrap().flatten();
    let mut found = Vec::new();
    for process in ids.map(|entry| entry.path()) {
        let is_in = |kind: &str| {
            let link = fs::read_link(process.join("ns").join(kind)).unwrap_or_default();
            namespaces.iter().any(|it| link == Path::new(it))
        };
        if ["pid", "net", "mnt"].into_iter().any(is_in) {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            let groups = fs::read_to_string(process.join("cgroup")).unwrap_or_default();
            found.push((groups, name.trim().to_owned()));
        }
    }
    found
}

/// The folders of the node's control groups, by one of its processes.
fn groups_of(name: &str, namespaces: &[String]) -> Vec<String> {
    let found = all_in(namespaces).into_iter().find(|found| found.1 == name);
    let lines = found.unwrap().0;
    let groups = lines.lines().filter_map(|line| {
        let (hierarchy, group) = line.split_once(':')?.1.split_once(':')?;
        let group = group.strip_prefix("/sealkit-node-")?.split('/').next()?;
        let hierarchy = hierarchy.trim_start_matches("name=");
        Some(format!("/sys/fs/cgroup/{hierarchy}/sealkit-node-{group}"))
    });
    groups.collect()
}

/// What a node must leave as it was.
#[derive(Debug, PartialEq, Eq)]
struct Machine {
    links: BTreeSet<String>,
    mounts: String,
    settings: Vec<String>,
    folders: Vec<bool>,
}

impl Machine {
    fn look() -> Self {
        let links = fs::read_dir("/sys/class/net").unwrap().flatten();
        let settings = [
            "vm/overcommit_memory",
            "kernel/panic",
            "net/ipv4/ip_forward",
        ];
        let folders = [
            "/var/lib/kubelet",
            "/opt/cni",
            "/etc/cni",
            "/run/containerd",
        ];
        Self {
            links: links
                .map(|link| link.file_name().to_string_lossy().into_owned())
                .collect(),
            mounts: fs::read_to_string("/proc/self/mountinfo").unwrap(),
            settings: settings
                .map(|name| fs::read_to_string(format!("/proc/sys/{name}")).unwrap())
                .to_vec(),
            folders: folders.map(|folder| fs::exists(folder).unwrap()).to_vec(),
        }
    }
}
