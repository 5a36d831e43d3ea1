// Checks logs and proofs as docs/log-format.md has them, in files of the vectors. It shares nothing with the product:
// notes are opened by sumdb/note, trees by transparency-dev/merkle. Prints where the first finding begins, or "none".
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
)

const epoch, line = 946_684_800_000_000, "%d %d %s %s" // 2000-01-01 in microseconds of Unix; what is said of a shard
var none, hasher, zeros = int64(1 << 62), rfc6962.DefaultHasher, make([]byte, 32)

// One shape for lines of all kinds and parts of proofs, with names as in the JSON.
type row struct {
	Shard                                             int16
	Position, First, Last                             int64
	Index, Size, Number                               uint64
	Recorded_at, Occurred_at                          time.Time
	Team_id, Source, ID, Type, Body, Head, Time, Text string
	Leaf, Root, Hash, Before, Path, Blocks            []byte
	Unpublished                                       bool
	Shards                                            map[int][3]any
}
type document struct {
	Public_key string
	Lines      []struct{ Fact, Block, Note *row }
	Proof      *struct{ Fact, Block, Shard, Note row }
}

func text(hash []byte) string { return base64.StdEncoding.EncodeToString(hash) }

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func packed(values ...any) (out []byte) {
	for _, value := range values {
		out = must(binary.Append(out, binary.BigEndian, value))
	}
	return out
}

func leafOfFact(f *row, body []byte) []byte {
	data := packed(int32(2), f.Shard, int32(8), f.Position)
	data = append(data, packed(int32(8), f.Recorded_at.UnixMicro()-epoch, int32(8), f.Occurred_at.UnixMicro()-epoch)...)
	for _, value := range [][]byte{[]byte(f.Team_id), []byte(f.Source), []byte(f.ID), []byte(f.Type), body} {
		data = append(data, packed(int32(len(value)), value)...)
	}
	return hasher.HashLeaf(data)
}

func link(b *row, shard int16, before, root []byte) [32]byte {
	return sha256.Sum256(packed(int8(2), shard, b.First, b.Last, before, root))
}

func root(leaves [][]byte) []byte {
	tree := (&compact.RangeFactory{Hash: hasher.HashChildren}).NewEmptyRange(0)
	for _, leaf := range leaves {
		must(0, tree.Append(leaf, nil))
	}
	return must(tree.GetRootHash(nil))
}

func follow(leaf []byte, index, size uint64, path []byte) []byte {
	return must(proof.RootFromInclusionProof(hasher, index, size, leaf, slices.Collect(slices.Chunk(path, 32))))
}

func leaf(f string, v ...any) []byte { return hasher.HashLeaf(fmt.Appendf(nil, f, v...)) }

func leafOfNote(n *row, vector []byte) []byte {
	return leaf("time %s\nshards %s\n%s", n.Time, text(vector), map[bool]string{true: "unpublished\n"}[n.Unpublished])
}

// open gives size and root of a note, and whether the key signed it.
func open(message, key string) (size int, root string, ok bool) {
	verifier := must(note.NewVerifier(key))
	_, err := note.Open([]byte(message), note.VerifierList(verifier))
	count, _ := fmt.Sscanf(message, verifier.Name()+"\n%d\n%s\n\n", &size, &root)
	return size, root, count == 2 && err == nil
}

func (d *document) proves() (ok bool) {
	defer func() { ok = recover() == nil && ok }()
	f, b, s, n := &d.Proof.Fact, &d.Proof.Block, &d.Proof.Shard, &d.Proof.Note
	within := follow(leafOfFact(f, []byte(f.Body)), uint64(f.Position-b.First), uint64(b.Last-b.First+1), b.Path)
	blocks := follow(leaf("%s", link(b, f.Shard, b.Before, within)), s.Index, s.Size, s.Blocks)
	vector := follow(leaf(line, f.Shard, s.Last, s.Head, text(blocks)), uint64(f.Shard), 64, s.Path)
	size, want, signed := open(n.Text, d.Public_key)
	return signed && text(follow(leafOfNote(n, vector), n.Number-1, uint64(size), n.Path)) == want
}

// A shard: its lines, what the newest note says of it, and how far that is.
type chain struct {
	facts, blocks []*row
	line          []byte
	grown         int64
}

func where(bad bool, at int64) int64 { return map[bool]int64{true: at, false: none}[bad] }

func at(s int, at int64) []string { return []string{fmt.Sprint(s, ":", at)}[:1-at/none] }

// first gives where the first finding of a shard begins.
func (c *chain) first() int64 {
	first, next, leaves, before := none, int64(1), map[int64][]byte{}, &row{First: 1, Hash: zeros}
	for _, f := range c.facts {
		leaf := leafOfFact(f, must(base64.StdEncoding.DecodeString(f.Body)))
		if f.Position == next && bytes.Equal(leaf, f.Leaf) {
			leaves[f.Position] = leaf
		} else {
			first = min(first, f.Position, next)
		}
		next = f.Position + 1
	}
	for _, b := range c.blocks {
		var of [][]byte
		for place := b.First; place <= b.Last && leaves[place] != nil; place++ {
			of = append(of, leaves[place])
		}
		touches, fits := b.First == before.Last+1, bytes.Equal(root(of), b.Root)
		whole, chained := int64(len(of)) == b.Last-b.First+1, link(b, b.Shard, before.Hash, b.Root) == [32]byte(b.Hash)
		first = min(first, where(!touches, before.Last+1), where(whole && !fits, b.First))
		first, before = min(first, where(touches && whole && fits && !chained, before.First)), b
	}
	return min(first, where(next != before.Last+1, min(next, before.Last+1)))
}

// grow takes what the next note says of a shard, and gives where the chain does not bear that out.
func (c *chain) grow(shard int, last int64, head, blocks any) int64 {
	leaves, end, after := [][]byte{}, &row{}, c.grown
	for _, b := range c.blocks {
		if b.Last > after && b.Last <= last {
			leaves, end = append(leaves, hasher.HashLeaf(b.Hash)), b
		}
	}
	c.grown, c.line = last, leaf(line, shard, last, head, blocks)
	differs := where(text(end.Hash) != head || text(root(leaves)) != blocks, after+1)
	return min(where(end.Last < last, max(end.Last, after)+1), where(end.Last == last, differs))
}

func (d *document) finding() string {
	if d.Proof != nil {
		return map[bool]string{true: "none", false: "proof"}[d.proves()]
	}
	chains, leaves, signed := make([]chain, 64), [][]byte{}, true
	var shards, notes, broken []string
	for _, l := range d.Lines {
		if l.Fact != nil {
			chains[l.Fact.Shard].facts, signed = append(chains[l.Fact.Shard].facts, l.Fact), false
		} else if l.Block != nil {
			chains[l.Block.Shard].blocks = append(chains[l.Block.Shard].blocks, l.Block)
		} else if l.Note != nil {
			vector := [][]byte{}
			for shard := range chains {
				if of, grown := l.Note.Shards[shard]; grown {
					broken = append(broken, at(shard, chains[shard].grow(shard, int64(of[0].(float64)), of[1], of[2]))...)
				}
				nothing := leaf(line, shard, 0, text(zeros), text(hasher.EmptyRoot()))
				vector = append(vector, [][]byte{nothing, chains[shard].line}[min(chains[shard].grown, 1)])
			}
			leaves = append(leaves, leafOfNote(l.Note, root(vector)))
			size, want, ok := open(l.Note.Text, d.Public_key)
			if signed = ok; size != len(leaves) || want != text(root(leaves)) {
				notes = append(notes, fmt.Sprint("checkpoint ", len(leaves)))
			}
		}
	}
	for shard, c := range chains {
		shards = append(shards, at(shard, c.first())...)
	}
	if !signed {
		notes = append(notes, []string{"checkpoints", fmt.Sprint("checkpoint ", len(leaves))}[min(len(leaves), 1)])
	}
	return slices.Concat(shards, notes, broken, []string{"none"})[0]
}

func main() {
	for _, name := range os.Args[1:] {
		d := new(document)
		must(0, json.Unmarshal(must(os.ReadFile(name)), d))
		fmt.Println(name, d.finding())
	}
}
