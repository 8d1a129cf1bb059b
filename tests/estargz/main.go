// Reads an archive with containerd's eStargz module and verifies every chunk against the table of contents:
// `estargz <archive> <digest of the table>` prints name, size and SHA-256 of each file.
package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/containerd/stargz-snapshotter/estargz"
	"github.com/opencontainers/go-digest"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(archive, tocDigest string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	stat, err := file.Stat()
	if err != nil {
		return err
	}
	reader, err := estargz.Open(io.NewSectionReader(file, 0, stat.Size()))
	if err != nil {
		return err
	}
	verifier, err := reader.VerifyTOC(digest.Digest(tocDigest))
	if err != nil {
		return err
	}
	root, ok := reader.Lookup("")
	if !ok {
		return fmt.Errorf("there is no root directory")
	}
	return walk(reader, verifier, "", root)
}

func walk(reader *estargz.Reader, verifier estargz.TOCEntryVerifier, dir string, entry *estargz.TOCEntry) (failed error) {
	entry.ForeachChild(func(base string, child *estargz.TOCEntry) bool {
		name := path.Join(dir, base)
		if child.Type == "dir" {
			failed = walk(reader, verifier, name, child)
		} else {
			failed = readFile(reader, verifier, name, child.Size)
		}
		return failed == nil
	})
	return failed
}

func readFile(reader *estargz.Reader, verifier estargz.TOCEntryVerifier, name string, size int64) error {
	content, err := reader.OpenFile(name)
	if err != nil {
		return err
	}
	whole := sha256.New()
	for offset := int64(0); offset < size; {
		chunk, ok := reader.ChunkEntryForOffset(name, offset)
		if !ok {
			return fmt.Errorf("%s: no chunk holds byte %d", name, offset)
		}
		check, err := verifier.Verifier(chunk)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		piece := io.NewSectionReader(content, chunk.ChunkOffset, chunk.ChunkSize)
		if _, err := io.Copy(io.MultiWriter(whole, check), piece); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if !check.Verified() {
			return fmt.Errorf("%s: the chunk at byte %d does not verify", name, chunk.ChunkOffset)
		}
		offset = chunk.ChunkOffset + chunk.ChunkSize
	}
	fmt.Printf("%s %d %x\n", name, size, whole.Sum(nil))
	return nil
}
