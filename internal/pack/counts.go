package pack

import (
	"iter"
	"math"
)

// Counts counts how many tables name each block of a pack. The zero value has counted none.
type Counts struct {
	regions map[int64]*[regionBlocks]uint16
}

const (
	regionBlocks = 256
	manyTables   = math.MaxUint16 // as many or more: such a block is never given back
)

// Add counts t.
func (c *Counts) Add(t Table) {
	if c.regions == nil {
		c.regions = map[int64]*[regionBlocks]uint16{}
	}
	for b := range t.blocks() {
		region := c.regions[b/regionBlocks]
		if region == nil {
			region = new([regionBlocks]uint16)
			c.regions[b/regionBlocks] = region
		}
		if n := &region[b%regionBlocks]; *n < manyTables {
			*n++
		}
	}
}

// Remove takes back Add of t.
func (c *Counts) Remove(t Table) {
	for b := range t.blocks() {
		if n := c.count(b); n > 0 && n < manyTables {
			c.regions[b/regionBlocks][b%regionBlocks]--
		}
	}
}

// count is of block b.
func (c *Counts) count(b int64) uint16 {
	if region := c.regions[b/regionBlocks]; region != nil {
		return region[b%regionBlocks]
	}
	return 0
}

// Bytes is how many bytes of the pack were counted.
func (c *Counts) Bytes() (n int64) {
	for _, region := range c.regions {
		for _, count := range region {
			if count > 0 {
				n += Block
			}
		}
	}
	return n
}

// end is the place behind the last block that was counted, in bytes.
func (c *Counts) end() int64 {
	last := int64(-1)
	for r, region := range c.regions {
		for i := range region {
			if b := r*regionBlocks + int64(i); region[i] > 0 && b > last {
				last = b
			}
		}
	}
	return (last + 1) * Block
}

// unused yields the runs of blocks from first to before end that were not counted.
func (c *Counts) unused(first, end int64) iter.Seq2[int64, int64] {
	return func(yield func(from, to int64) bool) {
		for b := first; b < end; {
			if c.count(b) > 0 {
				b++
				continue
			}
			from := b
			for b < end && c.count(b) == 0 {
				b++
			}
			if !yield(from, b) {
				return
			}
		}
	}
}

// blocks yields the numbers of the blocks that t names.
func (t Table) blocks() iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for _, e := range t.Extents {
			for b := e.At / Block; b < (e.At+e.Len)/Block; b++ {
				if !yield(b) {
					return
				}
			}
		}
	}
}
