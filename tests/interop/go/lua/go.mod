// The Lua of Argo CD's health checks.
module sealkit.dev/interop/lua

go 1.26.0

tool sealkit.dev/interop/lua

require github.com/yuin/gopher-lua v1.1.1
