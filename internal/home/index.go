package home

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"noid/internal/manifest"
	"noid/internal/storage"
)

// indexSchema is PRAGMA user_version of the database that this package knows.
const indexSchema = 2

// One table holds both kinds; the rows of VMs themselves have no vm, but their name as id. brief is what listings need of the
// manifest as it was when the stamp was taken, and sum is over the rest of the row.
const createIndex = `
CREATE TABLE briefs (
	vm TEXT NOT NULL, id TEXT NOT NULL,
	ino INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
	brief TEXT NOT NULL, sum TEXT NOT NULL,
	PRIMARY KEY (vm, id)
) WITHOUT ROWID;`

const dropIndex = `DROP VIEW IF EXISTS vms; DROP VIEW IF EXISTS checkpoints; DROP TABLE IF EXISTS manifests; DROP TABLE IF EXISTS briefs;`

// busyTimeoutMs is how long SQLite waits for another writer. Short: the listing is right without the index too.
const busyTimeoutMs = 500

// indexLock guards the replacing of a damaged database. No VM's name begins with a dot.
const indexLock = ".index.lock"

// key names a manifest; vm is empty for that of a VM, whose name is id.
type key struct{ vm, id string }

// row is what the index knows of a manifest.
type row struct {
	manifest.Stamp
	brief string
}

// sum tells a row that was damaged in a way that SQLite does not notice.
func (r row) sum(k key) string {
	b := make([]byte, 0, 256)
	for _, n := range []int64{int64(r.Ino), r.Size, r.MtimeNs} {
		b = append(strconv.AppendInt(b, n, 10), 0)
	}
	for _, s := range []string{k.vm, k.id, r.brief} {
		b = append(append(b, s...), 0)
	}
	return storage.SumOf(b).String()
}

// withIndex calls f with the open database. A database that turns out damaged is moved aside and f called once more, on
// an empty one.
func (h *Home) withIndex(ctx context.Context, f func(*sql.DB) error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	try := func() error {
		if h.db == nil {
			db, err := openIndex(ctx, h.indexPath())
			if err != nil {
				return err
			}
			h.db = db
		}
		return f(h.db)
	}
	err := try()
	if err == nil || !h.damaged(err) {
		return err
	}
	h.closeIndex()
	if err := h.replaceIndex(ctx, false); err != nil {
		return err
	}
	return try()
}

func (h *Home) indexPath() string { return filepath.Join(h.dir, indexFile) }

func (h *Home) closeIndex() error {
	if h.db == nil {
		return nil
	}
	err := h.db.Close()
	h.db = nil
	return err
}

func openIndex(ctx context.Context, path string) (*sql.DB, error) {
	// busy_timeout comes first, else switching to WAL fails at once when two processes do it. A write begins with
	// BEGIN IMMEDIATE: a reader cannot become a writer without failing when another wrote meanwhile.
	name := url.URL{Scheme: "file", Path: path, RawQuery: fmt.Sprintf(
		"_pragma=busy_timeout(%d)&_pragma=journal_mode(WAL)&_pragma=synchronous(NORMAL)&_txlock=immediate", busyTimeoutMs)}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if err := migrate(ctx, db); err != nil {
		db.Close()
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return db, nil
}

// migrate makes the schema. An older one is thrown away, all of it is in the manifests; a newer one is left alone.
func migrate(ctx context.Context, db *sql.DB) error {
	version := 0
	if err := db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil || version == indexSchema {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// Again, now that nobody else can write.
	if err := tx.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&version); err != nil || version == indexSchema {
		return err
	}
	if version > indexSchema {
		return fmt.Errorf("a newer noid made it (schema %d)", version)
	}
	if _, err := tx.ExecContext(ctx, dropIndex+createIndex+fmt.Sprintf(`PRAGMA user_version = %d`, indexSchema)); err != nil {
		return err
	}
	return tx.Commit()
}

// damaged reports whether err says that the file is no usable database, as opposed to one that cannot be reached now.
func (h *Home) damaged(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	if !ok {
		return false
	}
	switch e.Code() & 0xff { // the low byte is the primary result code
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return true
	case sqlite3.SQLITE_ERROR: // "no such table": the version is there and the tables are not
		return true
	case sqlite3.SQLITE_CANTOPEN:
		info, err := os.Lstat(h.indexPath())
		return err == nil && !info.Mode().IsRegular()
	}
	return false
}

// replaceIndex moves the database aside, unless another noid has done that already. Of databases moved aside only the
// latest is kept.
func (h *Home) replaceIndex(ctx context.Context, always bool) error {
	f, err := openLock(filepath.Join(h.LocksDir(), indexLock))
	if err != nil {
		return err
	}
	defer f.Close()
	if err := flockWithin(ctx, f, unix.LOCK_EX, 2*time.Second); err != nil {
		return fmt.Errorf("replacing the index: %w", err)
	}
	if !always && sound(ctx, h.indexPath()) {
		return nil
	}
	older, _ := filepath.Glob(globEscape(h.indexPath()) + ".damaged-*")
	aside := h.indexPath() + ".damaged-" + time.Now().UTC().Format("20060102T150405.000Z")
	err = os.Rename(h.indexPath(), aside)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replacing the index: %w", err)
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		// They belong to the old database; a new one must not find them.
		if err := os.Rename(h.indexPath()+suffix, aside+suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("replacing the index: %w", err)
		}
	}
	for _, path := range older {
		os.RemoveAll(path)
	}
	return nil
}

// sound reports whether path holds a database that passes SQLite's own check and has our table.
func sound(ctx context.Context, path string) bool {
	db, err := openIndex(ctx, path)
	if err != nil {
		return false
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRowContext(ctx, `PRAGMA quick_check`).Scan(&verdict); err != nil || verdict != "ok" {
		return false
	}
	_, err = db.ExecContext(ctx, `SELECT vm, id, ino, size, mtime_ns, brief, sum FROM briefs LIMIT 1`)
	return err == nil
}

// readIndex returns the rows of the checkpoints of vm, or, with an empty vm, those of the VMs.
func readIndex(ctx context.Context, db *sql.DB, vm string) (map[key]row, error) {
	rows, err := db.QueryContext(ctx, `SELECT id, ino, size, mtime_ns, brief, sum FROM briefs WHERE vm = ?`, vm)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	known := map[key]row{}
	for rows.Next() {
		k := key{vm: vm}
		var r row
		var ino int64 // SQLite has no unsigned 64-bit integers
		var sum string
		if err := rows.Scan(&k.id, &ino, &r.Size, &r.MtimeNs, &r.brief, &sum); err != nil {
			return nil, err
		}
		if r.Ino = uint64(ino); r.sum(k) != sum {
			r = row{} // no file has this stamp: it is read, and the row made anew
		}
		known[k] = r
	}
	return known, rows.Err()
}

// writeIndex puts changed rows in and takes gone ones out, all or nothing.
func writeIndex(ctx context.Context, db *sql.DB, changed map[key]row, gone []key) error {
	if len(changed) == 0 && len(gone) == 0 {
		return nil
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for k, r := range changed {
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO briefs (vm, id, ino, size, mtime_ns, brief, sum) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			k.vm, k.id, int64(r.Ino), r.Size, r.MtimeNs, r.brief, r.sum(k))
		if err != nil {
			return err
		}
	}
	for _, k := range gone {
		if _, err := tx.ExecContext(ctx, `DELETE FROM briefs WHERE vm = ? AND id = ?`, k.vm, k.id); err != nil {
			return err
		}
	}
	return tx.Commit()
}
