package program

import (
	"embed"
	"io/fs"
)

//go:embed all:arm64
var embedded embed.FS

var files fs.FS = sub(embedded, "arm64")
