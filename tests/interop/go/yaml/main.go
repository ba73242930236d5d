// Command yaml reads one YAML document from stdin and prints what two readers make of it, as
// JSON, one per line: sigs.k8s.io/yaml (kubectl, Argo CD), then gopkg.in/yaml.v3.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"

	yamlv3 "gopkg.in/yaml.v3"
	"sigs.k8s.io/yaml"
)

func main() {
	log.SetFlags(0)
	text, err := io.ReadAll(os.Stdin)
	check(err)

	kubernetes, err := yaml.YAMLToJSONStrict(text)
	check(err)
	fmt.Println(string(kubernetes))

	var value any
	check(yamlv3.Unmarshal(text, &value))
	// Fails on keys that are no strings, which no key of ours may become.
	json, err := json.Marshal(value)
	check(err)
	fmt.Println(string(json))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
