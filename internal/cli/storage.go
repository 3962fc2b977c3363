package cli

import (
	"context"
	"fmt"
	"os"

	"noid/internal/config"
	"noid/internal/home"
	"noid/internal/setup"
	"noid/internal/storage"
	"noid/internal/storage/volume"
)

// storageKey is the one key of config.toml whose change does something at once.
const storageKey = "storage"

const storageHelp = `On a file system that cannot share blocks (ext4), each checkpoint and each clone copies the disk. There,
'noid setup --storage btrfs' or 'noid config set storage btrfs', as root, moves the home's storage to a btrfs volume: a sparse
file in the home, mounted by the first command that root runs after a reboot, which grows before it is full (when root runs
'create', 'checkpoint', 'restore', 'start' or 'setup').
'noid setup --undo-storage' moves everything back. All VMs must be stopped.
`

// setStorage moves the storage to value, "btrfs" or "plain", and notes that as the default. verb is what the user typed.
func (a *app) setStorage(ctx context.Context, value, verb string) error {
	dir := a.home.Dir()
	if value == "btrfs" && !volume.Exists(dir) {
		if shares, err := storage.Reflinks(a.home.VMsDir()); err == nil && shares {
			if !a.quiet {
				fmt.Fprintf(a.err, "noid: %s shares blocks already (%s): a volume is not needed, the storage stays plain\n", dir, storage.FSType(a.home.VMsDir()))
			}
			return nil
		}
	}
	return config.Set(a.home.ConfigPath(), storageKey, value, func(_, value string) error {
		if value == "plain" {
			if volume.Exists(dir) {
				a.say("moving the storage out of its btrfs volume")
			}
			return volume.Unmake(ctx, a.home, verb)
		}
		if volume.Exists(dir) {
			return nil
		}
		mkfs := ""
		if os.Geteuid() == 0 { // the others are told to become root first
			var err error
			if mkfs, err = setup.Btrfs(ctx, a.setupOptions()); err != nil {
				return err
			}
		}
		a.say("moving the storage to a btrfs volume")
		return volume.Make(ctx, a.home, verb, mkfs)
	})
}

// setupStorage does what 'setup' does about the storage. Without a wish of the user's, here or in the configuration, that is
// advice alone: mounting something is not what one expects of it.
func (a *app) setupStorage(ctx context.Context, wish string) error {
	if err := volume.Tidy(ctx, a.home); err != nil {
		return err
	}
	if err := volume.Room(a.home.Dir()); err != nil {
		return err
	}
	switch have := volume.Exists(a.home.Dir()); {
	case wish != "":
		return a.setStorage(ctx, wish, "setup --storage "+wish)
	case a.config.Storage == "btrfs" && !have:
		return a.setStorage(ctx, "btrfs", "setup --storage btrfs")
	case a.config.Storage == "" && !have:
		if shares, err := storage.Reflinks(a.home.VMsDir()); err == nil && !shares {
			a.say("%s cannot share blocks, so each checkpoint copies the disk\nhint: %s", storage.FSType(a.home.VMsDir()), storageAdvice(a.home.Dir()))
		}
	}
	return nil
}

// storageAdvice says how to get a home that shares blocks.
func storageAdvice(dir string) string {
	do := "`noid config set storage btrfs`"
	if os.Geteuid() != 0 {
		do = volume.Sudo(dir, "config set storage btrfs")
	}
	return do + " makes a btrfs volume in the home; or put the home on btrfs or XFS: NOID_HOME=/path"
}

// checkStorage adds to doctor whether disks are cloned or copied.
func checkStorage(home *home.Home, add func(name, detail, cure string, err error) bool) {
	dir := home.Dir()
	if volume.Exists(dir) {
		u, err := volume.Look(dir)
		add("storage", fmt.Sprintf("btrfs volume of %d MiB, %d MiB free; it takes %d MiB of the %s around it, which has %d MiB free: disks are cloned without copying",
			u.Size>>20, u.Free>>20, u.Taken>>20, storage.FSType(dir), u.HostFree>>20), "", err)
		return
	}
	kind := storage.FSType(home.VMsDir())
	shares, err := storage.Reflinks(home.VMsDir())
	if err == nil && !shares {
		err = fmt.Errorf("plain, on %s, which cannot share blocks: checkpoints and clones copy the disk", kind)
	}
	add("storage", "plain, on "+kind+": disks are cloned without copying", storageAdvice(dir), err)
}
