//! What the node's programs are told.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::Node;
use super::programs::Programs;
use crate::run_dir::{RunDir, write_private};
use crate::{ControlPlane, RigError};

/// The node's address, in its own network.
pub(crate) const ADDRESS: &str = "10.89.0.2";
/// The name of the image of pods' first processes.
pub(super) const PAUSE: &str = "sealkit.dev/pause:1";
/// Users of the node's programs, and their groups.
pub(super) const USERS: &[(&str, &str)] = &[
    (KUBELET, "system:nodes"),
    (SCHEDULER, "system:authenticated"),
    (PROXY, "system:authenticated"),
];
/// Without node-lifecycle-controller a node stays tainted as not ready.
pub(super) const CONTROLLERS: &[&str] = &[
    "deployment-controller",
    "replicaset-controller",
    "endpoints-controller",
    "endpointslice-controller",
    "disruption-controller",
    "node-lifecycle-controller",
];

const KUBELET: &str = "system:node:sealkit-node";
const SCHEDULER: &str = "system:kube-scheduler";
const PROXY: &str = "system:kube-proxy";
const POD_NETWORK: &str = "10.244.0.0/24";
const SOCKET: &str = "/run/containerd/containerd.sock";

/// Files and command lines below one folder. What is in `state` lies in the node's memory.
pub(super) struct Configuration<'a> {
    dir: &'a RunDir,
    programs: &'a Programs,
}

impl<'a> Configuration<'a> {
    pub(super) fn new(dir: &'a RunDir, programs: &'a Programs) -> Self {
        Self { dir, programs }
    }

    pub(super) fn control_plane_dir(&self) -> PathBuf {
        self.dir.path().join("control-plane")
    }

    /// Beyond those of every control plane. Of a flag that is given twice the last one counts, but modes
    /// of authorization add up.
    pub(super) fn apiserver_flags(&self) -> Vec<String> {
        let keys = self.control_plane_dir().join("keys");
        let keys = keys.display();
        vec![
            "--bind-address=0.0.0.0".to_owned(),
            // Pods reach the API server by the Service `kubernetes`, whose endpoint this becomes.
            format!("--advertise-address={ADDRESS}"),
            "--endpoint-reconciler-type=lease".to_owned(),
            "--authorization-mode=Node".to_owned(),
            "--enable-admission-plugins=NodeRestriction".to_owned(),
            format!("--kubelet-client-certificate={keys}/kubelet-client.crt"),
            format!("--kubelet-client-key={keys}/kubelet-client.key"),
            format!("--kubelet-certificate-authority={keys}/ca.crt"),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
        ]
    }

    pub(super) fn containerd(&mut self) -> Result<Command, RigError> {
        let state = self.state();
        let state = state.display();
        let network = json!({
            "cniVersion": "1.0.0",
            "name": "sealkit",
            "plugins": [{
                "type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local",
                    "dataDir": format!("{state}/networks"),
                    "ranges": [[{"subnet": POD_NETWORK}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }],
        });
        let networks = self.dir.path().join("networks");
        self.write("networks/10-sealkit.conflist", &format!("{network:#}\n"))?;
        let config = format!(
            r#"version = 3
root = "{state}/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.snapshotter.v1.erofs",
  "io.containerd.nri.v1.nri",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]
[grpc]
address = "{SOCKET}"
[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{PAUSE}"
[plugins.'io.containerd.cri.v1.runtime']
# A root user without CAP_SYS_RESOURCE may not give a process a lower score than its own.
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{plugins}"]
conf_dir = "{networks}"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
"#,
            plugins = self.programs.network_plugins().display(),
            networks = networks.display(),
            runc = self.programs.runc().display(),
        );
        let mut command = Command::new("containerd");
        command
            .arg("--config")
            .arg(self.write("containerd.toml", &config)?);
        Ok(command)
    }

    pub(super) fn scheduler(&self, control_plane: &ControlPlane) -> Command {
        let mut command = Command::new("kube-scheduler");
        command
            .arg("--kubeconfig")
            .arg(control_plane.user_kubeconfig(SCHEDULER));
        command.args(["--leader-elect=false", "--bind-address=127.0.0.1"]);
        command
            .arg("--cert-dir")
            .arg(self.state().join("scheduler"));
        command
    }

    pub(super) fn kubelet(&self, control_plane: &ControlPlane) -> Result<Command, RigError> {
        let keys = self.control_plane_dir().join("keys");
        let state = self.state();
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": false,
            "cgroupDriver": "cgroupfs",
            "containerRuntimeEndpoint": format!("unix://{SOCKET}"),
            "address": ADDRESS,
            "readOnlyPort": 0,
            "tlsCertFile": keys.join("kubelet.crt"),
            "tlsPrivateKeyFile": keys.join("kubelet.key"),
            "authentication": {
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
                "x509": {"clientCAFile": keys.join("ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "clusterDomain": "cluster.local",
            "clusterDNS": [ADDRESS],
            "resolvConf": state.join("resolv.conf"),
            "failSwapOn": false,
            "volumePluginDir": state.join("volume-plugins"),
            // On the disk: they outlive the node.
            "podLogsDir": self.dir.logs().join("pods"),
            // The machine's disk and memory are others' too.
            "evictionHard": {"memory.available": "100Mi"},
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
        });
        let mut command = Command::new("kubelet");
        command
            .arg("--config")
            .arg(self.write("kubelet.json", &format!("{config:#}\n"))?);
        command
            .arg("--kubeconfig")
            .arg(control_plane.user_kubeconfig(KUBELET));
        command
            .arg("--cert-dir")
            .arg(state.join("kubelet-certificates"));
        command.arg(format!("--hostname-override={}", Node::NAME));
        command.arg(format!("--node-ip={ADDRESS}"));
        Ok(command)
    }

    pub(super) fn proxy(&self, control_plane: &ControlPlane) -> Result<Command, RigError> {
        let config = json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clusterCIDR": POD_NETWORK,
            "hostnameOverride": Node::NAME,
            "clientConnection": {"kubeconfig": control_plane.user_kubeconfig(PROXY)},
            "metricsBindAddress": "127.0.0.1:10249",
            "healthzBindAddress": "127.0.0.1:10256",
            // The limit is the machine's, not the network's.
            "conntrack": {"maxPerCore": 0},
            "nodePortAddresses": ["primary"],
        });
        let mut command = Command::new("kube-proxy");
        command
            .arg("--config")
            .arg(self.write("kube-proxy.json", &format!("{config:#}\n"))?);
        Ok(command)
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn write(&self, name: &str, content: &str) -> Result<PathBuf, RigError> {
        let path = self.dir.path().join(name);
        write_private(&path, content).map(|()| path)
    }
}
