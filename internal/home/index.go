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
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"noid/internal/manifest"
	"noid/internal/storage"
)

// indexSchema is PRAGMA user_version of the database that this package knows.
const indexSchema = 4

// One row is all that a listing shows: of the checkpoints of vm, or of all VMs where vm is empty. See readIndex.
const createIndex = `CREATE TABLE listings (vm TEXT PRIMARY KEY, rows TEXT NOT NULL, sum TEXT NOT NULL) WITHOUT ROWID;`

const dropIndex = `DROP VIEW IF EXISTS vms; DROP VIEW IF EXISTS checkpoints; DROP TABLE IF EXISTS manifests; DROP TABLE IF EXISTS briefs;
DROP TABLE IF EXISTS listings;`

// busyTimeoutMs is SQLite's wait for another writer. It is short: a listing is right without the index too.
const busyTimeoutMs = 500

// indexLock guards the replacing of a damaged database. No VM's name begins with a dot.
const indexLock = ".index.lock"

// withIndex calls f with the open database. A damaged one is moved aside, and f called once more on an empty one.
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

// migrate makes the schema. An older one is dropped, since all of it is in the manifests; a newer one is left alone.
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

// damaged reports whether err says that the file is no usable database, not that it cannot be reached now.
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

// replaceIndex moves the database aside, unless another noid has done that already. The latest one moved aside stays.
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
	_, err = db.ExecContext(ctx, `SELECT vm, rows, sum FROM listings LIMIT 1`)
	return err == nil
}

// row is what the index knows of a manifest: one line that a listing shows of it, and its stamp when it was read.
type row struct {
	manifest.Stamp
	brief string
}

// readIndex returns the rows of the checkpoints of vm by id, or, with an empty vm, those of the VMs by name. A
// listing with a wrong sum counts as none: SQLite does not notice every damage.
func readIndex(ctx context.Context, db *sql.DB, vm string) (map[string]row, error) {
	var text, sum string
	err := db.QueryRowContext(ctx, `SELECT rows, sum FROM listings WHERE vm = ?`, vm).Scan(&text, &sum)
	if errors.Is(err, sql.ErrNoRows) || err == nil && sumOf(vm, text) != sum {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	known := make(map[string]row, strings.Count(text, "\n"))
	for line := range strings.Lines(text) {
		word := strings.SplitN(strings.TrimSuffix(line, "\n"), "\t", 5)
		if len(word) != 5 {
			continue
		}
		ino, err1 := strconv.ParseUint(word[1], 10, 64)
		size, err2 := strconv.ParseInt(word[2], 10, 64)
		mtime, err3 := strconv.ParseInt(word[3], 10, 64)
		if err1 == nil && err2 == nil && err3 == nil {
			known[word[0]] = row{manifest.Stamp{Ino: ino, Size: size, MtimeNs: mtime}, word[4]}
		}
	}
	return known, nil
}

// writeIndex replaces what readIndex reads.
func writeIndex(ctx context.Context, db *sql.DB, vm string, rows map[string]row) error {
	if len(rows) == 0 {
		_, err := db.ExecContext(ctx, `DELETE FROM listings WHERE vm = ?`, vm)
		return err
	}
	var text strings.Builder
	for id, r := range rows {
		fmt.Fprintf(&text, "%s\t%d\t%d\t%d\t%s\n", id, r.Ino, r.Size, r.MtimeNs, r.brief)
	}
	_, err := db.ExecContext(ctx, `INSERT OR REPLACE INTO listings (vm, rows, sum) VALUES (?, ?, ?)`, vm, text.String(), sumOf(vm, text.String()))
	return err
}

func sumOf(vm, text string) string { return storage.SumOf([]byte(vm + "\x00" + text)).String() }
