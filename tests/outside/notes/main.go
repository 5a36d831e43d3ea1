// Opens signed notes with sumdb/note and checks proofs between any two of them with transparency-dev/merkle.
// Reads JSON, one object a line: {"key": …}, then {"note": …} in the order of their numbers, then {"old", "new", "path"}.
package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

type line struct {
	Key, Note string
	Old, New  uint64
	Path      [][]byte
}

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return value
}

func main() {
	lines, roots, proofs := json.NewDecoder(os.Stdin), [][]byte{nil}, 0
	var verifiers note.Verifiers
	for {
		var next line
		if err := lines.Decode(&next); errors.Is(err, io.EOF) {
			break
		} else {
			must(0, err)
		}
		switch {
		case next.Key != "":
			verifiers = note.VerifierList(must(note.NewVerifier(next.Key)))
		case next.Note != "":
			text := strings.Split(must(note.Open([]byte(next.Note), verifiers)).Text, "\n")
			if text[1] != fmt.Sprint(len(roots)) {
				must(0, fmt.Errorf("note %d says that it is %s", len(roots), text[1]))
			}
			roots = append(roots, must(base64.StdEncoding.DecodeString(text[2])))
		default:
			must(0, proof.VerifyConsistency(rfc6962.DefaultHasher, next.Old, next.New, next.Path, roots[next.Old], roots[next.New]))
			proofs++
		}
	}
	fmt.Printf("sumdb/note opened %d notes, transparency-dev/merkle took %d proofs\n", len(roots)-1, proofs)
}
