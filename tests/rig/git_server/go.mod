// Serves Git repositories over HTTP, as Git hosts do: Flux and Argo CD fetch from nothing less.
module sealkit.dev/rig/git_server

go 1.26.0

tool sealkit.dev/rig/git_server
