package pack

// Owners knows, after one look at each table of a pack, what each owner of tables has of it for itself. The zero value
// has seen none.
type Owners struct {
	regions map[int64]*[regionBlocks]int32 // of a block its owner, counted from 1, or several
	parts   []Part
}

// several is in place of an owner where there are more.
const several = -1

// Part is what an owner of tables needs of a pack, in bytes.
type Part struct{ Own, Shared int64 }

// Add notes that t is one of the tables of owner, a small number from 0.
func (o *Owners) Add(owner int, t Table) {
	if o.regions == nil {
		o.regions = map[int64]*[regionBlocks]int32{}
	}
	for len(o.parts) <= owner {
		o.parts = append(o.parts, Part{})
	}
	for b := range t.blocks() {
		region := o.regions[b/regionBlocks]
		if region == nil {
			region = new([regionBlocks]int32)
			o.regions[b/regionBlocks] = region
		}
		switch was := &region[b%regionBlocks]; {
		case *was == 0:
			*was = int32(owner) + 1
			o.parts[owner].Own += Block
		case *was == int32(owner)+1: // in two of its tables
		default:
			if *was > 0 {
				o.parts[*was-1].Own -= Block
				o.parts[*was-1].Shared += Block
				*was = several
			}
			o.parts[owner].Shared += Block
		}
	}
}

// Part is what owner needs.
func (o *Owners) Part(owner int) Part {
	if owner >= len(o.parts) {
		return Part{}
	}
	return o.parts[owner]
}
