// Package checkpoint owns a checkpoint's directory: its manifest, the sums of its files, whether these are as they were
// saved, and whether this host can load them. It knows a checkpoint by its directory alone; where that lies, package
// home says.
package checkpoint
