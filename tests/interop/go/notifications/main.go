// Command notifications reads Alerts and Providers of Flux from stdin, a JSON object a line, and refuses what
// Flux's own types do not have.
package main

import (
	"bufio"
	"encoding/json"
	"log"
	"os"

	"github.com/fluxcd/notification-controller/api/v1beta3"
	kjson "sigs.k8s.io/json"
)

func main() {
	log.SetFlags(0)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var head struct{ APIVersion, Kind string }
		check(json.Unmarshal(lines.Bytes(), &head))
		if head.APIVersion != v1beta3.GroupVersion.String() {
			log.Fatalf("%s is not %s", head.APIVersion, v1beta3.GroupVersion)
		}
		var object any
		switch head.Kind {
		case v1beta3.AlertKind:
			object = &v1beta3.Alert{}
		case v1beta3.ProviderKind:
			object = &v1beta3.Provider{}
		default:
			log.Fatalf("%s is no kind of notifications", head.Kind)
		}
		// Field names as API servers take them, and no others.
		unknown, err := kjson.UnmarshalStrict(lines.Bytes(), object)
		check(err)
		for _, err := range unknown {
			check(err)
		}
	}
	check(lines.Err())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
