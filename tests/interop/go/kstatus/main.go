// Command kstatus reads objects from stdin, a JSON object a line, and prints the status that
// kstatus computes for each, a word a line.
package main

import (
	"bufio"
	"fmt"
	"log"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func main() {
	log.SetFlags(0)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var object unstructured.Unstructured
		// As the API machinery decodes: integers stay int64, which kstatus insists on.
		check(object.UnmarshalJSON(lines.Bytes()))
		result, err := status.Compute(&object)
		check(err)
		fmt.Println(result.Status)
	}
	check(lines.Err())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
