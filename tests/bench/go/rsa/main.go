// Command rsa measures and uses Sealed Secrets' own cryptography (pkg/crypto): one RSA-4096 OAEP
// operation for each value.
//
//	rsa open -values 10 -rounds 50             CPU of opening one object
//	rsa cert                                   a certificate to seal to, as PEM
//	rsa seal -cert FILE -objects N -values M   sealed objects, one JSON line each
package main

import (
	"bufio"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"sort"
	"syscall"
	"time"

	"github.com/bitnami-labs/sealed-secrets/pkg/crypto"
)

const keySize = 4096 // the controller's default

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rsa:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("which one: open, cert or seal")
	}
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	values := flags.Int("values", 10, "values in an object")
	rounds := flags.Int("rounds", 50, "objects to open")
	objects := flags.Int("objects", 1, "objects to seal")
	size := flags.Int("size", 32, "bytes of a value")
	namespace := flags.String("namespace", "bench", "namespace of the objects")
	certificate := flags.String("cert", "", "certificate file")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "open":
		return open(*values, *rounds, *size)
	case "cert":
		return cert()
	case "seal":
		return seal(*certificate, *namespace, *objects, *values, *size)
	default:
		return fmt.Errorf("unknown command %q", args[0])
	}
}

// open prints the median CPU time of opening an object, garbage collection included.
func open(values, rounds, size int) error {
	runtime.GOMAXPROCS(1)
	key, _, err := crypto.GeneratePrivateKeyAndCert(keySize, time.Hour, "")
	if err != nil {
		return err
	}
	fingerprint, err := crypto.PublicKeyFingerprint(&key.PublicKey)
	if err != nil {
		return err
	}
	keys := map[string]*rsa.PrivateKey{fingerprint: key}
	label := []byte("bench/object-00000")
	sealed := make([][]byte, values)
	for i := range sealed {
		if sealed[i], err = crypto.HybridEncrypt(rand.Reader, &key.PublicKey, make([]byte, size), label); err != nil {
			return err
		}
	}
	times := make([]int64, rounds)
	for round := range times {
		start, err := cpu()
		if err != nil {
			return err
		}
		for _, ciphertext := range sealed {
			if _, err := crypto.HybridDecrypt(rand.Reader, keys, ciphertext, label); err != nil {
				return err
			}
		}
		end, err := cpu()
		if err != nil {
			return err
		}
		times[round] = end - start
	}
	sort.Slice(times, func(a, b int) bool { return times[a] < times[b] })
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"cpuNanoseconds": times[rounds/2],
		"go":             runtime.Version(),
	})
}

func cpu() (int64, error) {
	var usage syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return usage.Utime.Nano() + usage.Stime.Nano(), err
}

func cert() error {
	_, certificate, err := crypto.GeneratePrivateKeyAndCert(keySize, 24*time.Hour, "")
	if err != nil {
		return err
	}
	return pem.Encode(os.Stdout, &pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}

// seal writes objects object-00000 and so on, scope strict, random values.
func seal(path, namespace string, objects, values, size int) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return fmt.Errorf("%s holds no PEM block", path)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	key, ok := certificate.PublicKey.(*rsa.PublicKey)
	if !ok {
		return fmt.Errorf("%s is no RSA certificate", path)
	}
	out := bufio.NewWriter(os.Stdout)
	lines := json.NewEncoder(out)
	for object := range objects {
		name := fmt.Sprintf("object-%05d", object)
		label := []byte(namespace + "/" + name)
		data := map[string][]byte{}
		for value := range values {
			plaintext := make([]byte, size)
			if _, err := rand.Read(plaintext); err != nil {
				return err
			}
			sealed, err := crypto.HybridEncrypt(rand.Reader, key, plaintext, label)
			if err != nil {
				return err
			}
			data[fmt.Sprintf("KEY_%d", value)] = sealed
		}
		if err := lines.Encode(map[string]any{"name": name, "encryptedData": data}); err != nil {
			return err
		}
	}
	return out.Flush()
}
