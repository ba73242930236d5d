//! `sealkit-rig`: a local Kubernetes control plane for people.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use sealkit_rig::{
    ArgoCd, Assets, ControlPlane, Flux, GitServer, Image, Moto, Node, OpenBao, Options, Prometheus,
    RigError, go_tools, python_venv, running_kubeconfig, stop_kept,
};

/// Runs a local Kubernetes control plane (no containers, no kubelet)
#[derive(Parser)]
#[command(name = "sealkit-rig", version)]
struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start a control plane that stays until `down`
    Up {
        /// Directory for data, keys and logs
        #[arg(long, default_value = ".rig")]
        dir: PathBuf,
    },
    /// Stop the control plane and remove its data
    Down {
        /// Directory given to `up`
        #[arg(long, default_value = ".rig")]
        dir: PathBuf,
    },
    /// Print the folder of the binaries, building them if needed
    Assets,
    /// Print the path of kubectl, building it if needed
    KubectlPath,
    /// Print the path of `bao`, the server and client of `OpenBao`, installing it if needed
    BaoPath,
    /// Print the path of `moto_server`, a server that answers as AWS does, installing it if needed
    MotoPath,
    /// Print the folder of Flux's controllers and their CRDs, building them if needed
    FluxPath,
    /// Print the path of the server of Git repositories, building it if needed
    GitServerPath,
    /// Print the path of Helm, building it if needed
    HelmPath,
    /// Write a folder as the image of one program, and print its digest
    Image(ImageArguments),
    /// Build the control plane and further tools, unless they are in the cache
    Tools {
        /// flux, argocd, node, prometheus, or a label and the folder of a Go module or of a requirements.txt with
        /// Python packages; the label names a Go module in the cache
        #[arg(value_name = "flux|argocd|node|prometheus|LABEL=FOLDER")]
        tools: Vec<String>,
    },
}

#[derive(Args)]
struct ImageArguments {
    /// Name with a tag
    #[arg(long)]
    name: String,
    /// Program that it runs
    #[arg(long)]
    entrypoint: String,
    /// `USER:GROUP`, by their numbers
    #[arg(long)]
    user: String,
    /// Label, such as org.opencontainers.image.version=1.2.3
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Folder that becomes its file system
    rootfs: PathBuf,
    /// File to write
    archive: PathBuf,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().action {
        Action::Up { dir } => up(&dir),
        Action::Down { dir } => down(&dir),
        Action::Assets => Assets::find_or_build().map(|assets| {
            if let Some(folder) = assets.kube_apiserver.parent() {
                println!("{}", folder.display());
            }
        }),
        Action::KubectlPath => {
            Assets::find_or_build().map(|assets| println!("{}", assets.kubectl.display()))
        }
        Action::BaoPath => OpenBao::program().map(|program| println!("{}", program.display())),
        Action::MotoPath => Moto::program().map(|program| println!("{}", program.display())),
        Action::FluxPath => Flux::programs().map(|folder| println!("{}", folder.display())),
        Action::GitServerPath => {
            GitServer::program().map(|program| println!("{}", program.display()))
        }
        Action::HelmPath => helm().map(|program| println!("{}", program.display())),
        Action::Image(arguments) => image(&arguments),
        Action::Tools { tools } => install(&tools),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn image(arguments: &ImageArguments) -> Result<(), RigError> {
    let labels: Vec<_> = arguments
        .labels
        .iter()
        .map(|label| pair(label))
        .collect::<Result<_, _>>()?;
    let image = Image {
        name: &arguments.name,
        rootfs: &arguments.rootfs,
        entrypoint: &arguments.entrypoint,
        user: &arguments.user,
        labels: &labels,
    };
    let digest = image.write(&arguments.archive)?;
    println!("{digest}");
    Ok(())
}

fn install(tools: &[String]) -> Result<(), RigError> {
    Assets::find_or_build()?;
    for tool in tools {
        match tool.as_str() {
            "flux" => Flux::programs().map(drop)?,
            "argocd" => ArgoCd::programs().map(drop)?,
            "node" => node()?,
            "prometheus" => Prometheus::programs().map(drop)?,
            labelled => install_labelled(labelled)?,
        }
    }
    Ok(())
}

/// A machine that cannot run a node builds none.
fn node() -> Result<(), RigError> {
    match Node::missing() {
        None => Node::install(),
        Some(reason) => {
            eprintln!("sealkit-rig: no node here: {reason}");
            Ok(())
        }
    }
}

fn install_labelled(tool: &str) -> Result<(), RigError> {
    let (label, folder) = pair(tool)?;
    let folder = Path::new(folder);
    let requirements = folder.join("requirements.txt");
    if requirements.is_file() {
        python_venv(&requirements).map(drop)
    } else {
        go_tools(folder, label).map(drop)
    }
}

/// What stands before and after the first `=`.
fn pair(text: &str) -> Result<(&str, &str), RigError> {
    text.split_once('=')
        .ok_or_else(|| RigError::Setup(format!("{text}: must have an = in it")))
}

/// The Helm that the tests run.
fn helm() -> Result<PathBuf, RigError> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/go/helm");
    go_tools(&module, "interop-helm").map(|folder| folder.join("helm"))
}

fn up(dir: &Path) -> Result<(), RigError> {
    if let Some(kubeconfig) = running_kubeconfig(dir) {
        eprintln!("a control plane runs in {} already", dir.display());
        print_export(&kubeconfig);
        return Ok(());
    }
    let options = Options {
        dir: Some(dir.to_owned()),
        keep: true,
        ..Options::default()
    };
    let control_plane = ControlPlane::start(options)?;
    eprintln!(
        "API server {}, logs in {}/logs",
        control_plane.url(),
        dir.display()
    );
    eprintln!("kubectl is {}", control_plane.kubectl_path().display());
    eprintln!("stop it with: sealkit-rig down --dir {}", dir.display());
    print_export(control_plane.kubeconfig());
    Ok(())
}

fn down(dir: &Path) -> Result<(), RigError> {
    if !stop_kept(dir)? {
        eprintln!("no control plane in {}", dir.display());
    }
    Ok(())
}

/// For `eval "$(sealkit-rig up)"`, whatever characters the path holds.
fn print_export(kubeconfig: &Path) {
    let path = kubeconfig.display().to_string().replace('\'', r"'\''");
    println!("export KUBECONFIG='{path}'");
}
