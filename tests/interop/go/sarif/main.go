// Command sarif reads a SARIF log from stdin, checks it against the schema that OASIS publishes
// (sarif-schema-2.1.0.json, unchanged but for its indentation), and prints each fault.
package main

import (
	_ "embed"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/xeipuuv/gojsonschema"
)

//go:embed sarif-schema-2.1.0.json
var schema string

func main() {
	log.SetFlags(0)
	text, err := io.ReadAll(os.Stdin)
	check(err)
	result, err := gojsonschema.Validate(gojsonschema.NewStringLoader(schema), gojsonschema.NewBytesLoader(text))
	check(err)
	for _, fault := range result.Errors() {
		fmt.Println(fault)
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
