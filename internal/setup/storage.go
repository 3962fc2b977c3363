package setup

import (
	"context"
	"fmt"
	"os"

	"noid/internal/config"
	"noid/internal/setup/debian"
	"noid/internal/setup/distro"
	"noid/internal/storage"
	"noid/internal/storage/volume"
)

// StorageKey is the one key of config.toml whose change does something at once.
const StorageKey = "storage"

// SetStorage moves the storage to value, "btrfs" or "plain", and notes that as the default. verb is what the user
// typed.
func SetStorage(ctx context.Context, o Options, value, verb string) error {
	if err := o.Home.Make(); err != nil {
		return err
	}
	dir := o.Home.Dir()
	have := volume.Exists(dir)
	if value == "btrfs" && !have {
		if shares, err := storage.Reflinks(o.Home.VMsDir()); err == nil && shares {
			o.Notice(fmt.Sprintf("%s shares blocks already (%s): a volume is not needed, the storage stays plain", dir, storage.FSType(o.Home.VMsDir())))
			return nil
		}
	}
	return config.Set(o.Home.ConfigPath(), StorageKey, value, func(_, value string) error {
		if value == "plain" {
			if have {
				o.say("moving the storage out of its btrfs volume")
			}
			return volume.Unmake(ctx, o.Home, verb)
		}
		if have {
			return volume.Room(dir)
		}
		mkfs := ""
		if os.Geteuid() == 0 { // the others are told to become root first
			var err error
			if mkfs, err = debian.Tool(ctx, o.debian(), "mkfs.btrfs", distro.Btrfs); err != nil {
				return err
			}
		}
		o.say("moving the storage to a btrfs volume")
		return volume.Make(ctx, o.Home, verb, mkfs)
	})
}

// UnsetStorage moves the storage out of its volume, if it has one, and forgets the default. verb is what the user
// typed.
func UnsetStorage(ctx context.Context, o Options, verb string) error {
	if volume.Exists(o.Home.Dir()) {
		if err := SetStorage(ctx, o, "plain", verb); err != nil {
			return err
		}
	}
	return config.Unset(o.Home.ConfigPath(), StorageKey)
}

// runStorage is Run's part for the storage. Where nobody asked for a volume it only advises: setup mounts nothing
// unasked.
func runStorage(ctx context.Context, o Options, wish string) error {
	dir := o.Home.Dir()
	if err := volume.Tidy(ctx, o.Home); err != nil {
		return err
	}
	if err := volume.Room(dir); err != nil {
		return err
	}
	if wish == "" && o.Config.Storage == "btrfs" && !volume.Exists(dir) {
		wish = "btrfs"
	}
	if wish != "" {
		return SetStorage(ctx, o, wish, "setup --storage "+wish)
	}
	if o.Config.Storage == "" && !volume.Exists(dir) {
		if shares, err := storage.Reflinks(o.Home.VMsDir()); err == nil && !shares {
			o.say("%s cannot share blocks, so each checkpoint copies the disk\nhint: %s", storage.FSType(o.Home.VMsDir()), storageAdvice(dir))
		}
	}
	return nil
}

// storageAdvice says how to get a home that shares blocks.
func storageAdvice(dir string) string {
	do := "'noid config set storage btrfs'"
	if os.Geteuid() != 0 {
		do = volume.Sudo(dir, "config set storage btrfs")
	}
	return do + " makes a btrfs volume in the home; or put the home on btrfs or XFS: NOID_HOME=/path"
}
