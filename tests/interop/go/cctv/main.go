// Command cctv writes the age test vectors into a folder, payloads decompressed.
package main

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
	"io/fs"
	"log"
	"os"
	"path/filepath"

	agetest "c2sp.org/CCTV/age"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: cctv FOLDER")
	}
	entries, err := fs.ReadDir(agetest.Vectors, ".")
	check(err)
	for _, entry := range entries {
		vector, err := fs.ReadFile(agetest.Vectors, entry.Name())
		check(err)
		vector, err = decompressed(vector)
		check(err)
		check(os.WriteFile(filepath.Join(os.Args[1], entry.Name()), vector, 0o600))
	}
	fmt.Println(len(entries))
}

// A vector is header lines, an empty line and an age file, which "compressed: zlib" announces.
func decompressed(vector []byte) ([]byte, error) {
	head, file, found := bytes.Cut(vector, []byte("\n\n"))
	if !found {
		return nil, fmt.Errorf("a vector has no empty line")
	}
	if !bytes.Contains(append(head, '\n'), []byte("\ncompressed: zlib\n")) {
		return vector, nil
	}
	reader, err := zlib.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	file, err = io.ReadAll(reader)
	return append(append(head, "\n\n"...), file...), err
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
