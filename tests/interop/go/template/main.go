// Renders templates as External Secrets does: Go's text/template with sprig's functions, a missing
// key is an error. One JSON request a line: {"text", "values"}; one answer a line: {"ok", "out"}.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
	"sigs.k8s.io/yaml"
)

type request struct {
	Text   string            `json:"text"`
	Values map[string]string `json:"values"`
}

type answer struct {
	OK  bool   `json:"ok"`
	Out string `json:"out"`
}

func toYAML(value any) string {
	text, err := yaml.Marshal(value)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(string(text), "\n")
}

func fromYAML(text string) (map[string]any, error) {
	value := map[string]any{}
	err := yaml.Unmarshal([]byte(text), &value)
	return value, err
}

func render(request request) answer {
	functions := sprig.TxtFuncMap()
	functions["toYaml"] = toYAML
	functions["fromYaml"] = fromYAML
	parsed, err := template.New("").Option("missingkey=error").Funcs(functions).Parse(request.Text)
	if err != nil {
		return answer{}
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, request.Values); err != nil {
		return answer{}
	}
	return answer{true, out.String()}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	encoder := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		var one request
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			panic(err)
		}
		if err := encoder.Encode(render(one)); err != nil {
			panic(err)
		}
	}
}
