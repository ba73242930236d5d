// The two YAML readers of the Kubernetes world: kubectl's and kustomize's.
module sealkit.dev/interop/yaml

go 1.26.0

tool sealkit.dev/interop/yaml

require (
	gopkg.in/yaml.v3 v3.0.1
	sigs.k8s.io/yaml v1.6.0
)

require go.yaml.in/yaml/v2 v2.4.2 // indirect
