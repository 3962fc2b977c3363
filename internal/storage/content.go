package storage

import (
	"bytes"
	"iter"
	"os"
)

// DataRuns yields the runs of data of the first size bytes of f, by SEEK_DATA. Where the file system cannot tell, all is
// data.
func DataRuns(f *os.File, size int64) iter.Seq2[int64, int64] { return dataRuns(f, size) }

// Explain gives err, met while writing path, its kind and the cure.
func Explain(err error, path string) error { return explain(err, path) }

// IsZero reports whether data, HashChunk bytes at most, is all zeros.
func IsZero(data []byte) bool { return bytes.Equal(data, zeros[:len(data)]) }

// ChunkSum is the sum of a chunk as Hash has it: that of zeros is zero.
func ChunkSum(data []byte) Sum {
	if IsZero(data) {
		return Sum{}
	}
	return SumOf(data)
}
