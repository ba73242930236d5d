// Opening and sealing as Sealed Secrets does it, with its own code: the peer of `sealkit-bench open`.
module sealkit.dev/bench/rsa

go 1.26.2

tool sealkit.dev/bench/rsa

require github.com/bitnami-labs/sealed-secrets v0.36.6

require (
	golang.org/x/crypto v0.49.0 // indirect
	golang.org/x/sys v0.42.0 // indirect
)
