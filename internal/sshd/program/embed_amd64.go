package program

import (
	"embed"
	"io/fs"
)

//go:embed all:amd64
var embedded embed.FS

var files fs.FS = sub(embedded, "amd64")
