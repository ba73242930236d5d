// The age test kit of the Community Cryptography Test Vectors: a tool that writes its files.
module sealkit.dev/interop/cctv

go 1.26.0

tool sealkit.dev/interop/cctv

require c2sp.org/CCTV/age v0.0.0-20260829155415-4448f2097b2d
