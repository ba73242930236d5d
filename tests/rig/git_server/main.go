// Serves the Git repositories below a folder over HTTP, to read. Listens at ADDRESS.
package main

import (
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"os/exec"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: git_server ADDRESS FOLDER")
	}
	git, err := exec.LookPath("git")
	if err != nil {
		log.Fatal(err)
	}
	handler := &cgi.Handler{
		Path: git,
		Args: []string{"http-backend"},
		Dir:  os.Args[2],
		Env:  []string{"GIT_PROJECT_ROOT=" + os.Args[2], "GIT_HTTP_EXPORT_ALL=1"},
	}
	log.Fatal(http.ListenAndServe(os.Args[1], handler))
}
