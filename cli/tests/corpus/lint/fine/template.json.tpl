{ {{ if .x }} "kind": "Secret", "data": { {{ .y }} } {{ end }} }
