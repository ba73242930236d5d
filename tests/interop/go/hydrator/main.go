// Command hydrator renders paths of a work tree into another folder, as Argo CD's source hydrator
// does: kustomize builds each path, and the commit server's own code writes manifest.yaml,
// hydrator.metadata and README.md.
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/argoproj/argo-cd/v3/commitserver/apiclient"
	"github.com/argoproj/argo-cd/v3/commitserver/commit"
	"github.com/argoproj/argo-cd/v3/pkg/apis/application/v1alpha1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 5 {
		log.Fatal("usage: hydrator SOURCE COMMIT TARGET PATH...")
	}
	source, revision, target := os.Args[1], os.Args[2], os.Args[3]
	var paths []*apiclient.PathDetails
	for _, path := range os.Args[4:] {
		paths = append(paths, &apiclient.PathDetails{
			Path:      path,
			Manifests: built(filepath.Join(source, path)),
			Commands:  []string{"kustomize build ."},
		})
	}
	root, err := os.OpenRoot(target)
	check(err)
	metadata := &v1alpha1.RevisionMetadata{Author: "Ann <ann@example.com>", Message: "A change"}
	check(commit.WriteForPaths(root, "https://git.example.com/shop.git", revision, metadata, paths))
}

// The objects of a kustomization, as the repository server sends them.
func built(folder string) []*apiclient.HydratedManifestDetails {
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	check(err)
	var manifests []*apiclient.HydratedManifestDetails
	for _, object := range objects.Resources() {
		json, err := object.MarshalJSON()
		check(err)
		manifests = append(manifests, &apiclient.HydratedManifestDetails{ManifestJSON: string(json)})
	}
	return manifests
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
