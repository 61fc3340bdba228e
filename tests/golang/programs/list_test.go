package programs

import "regexp"

const (
	bboltModule, bbolt     = "go.etcd.io/bbolt", "v1.5.0"
	pebbleModule, pebble   = "github.com/cockroachdb/pebble", "v1.1.5"
	sqliteModule, sqlite   = "modernc.org/sqlite", "v1.55.0" // later ones test with a pprof that the proxy does not have
	esbuildModule, esbuild = "github.com/evanw/esbuild", "v0.28.2"
	toolsModule, tools     = "honnef.co/go/tools", "v0.8.2"
	hugoModule, hugo       = "github.com/gohugoio/hugo", "v0.160.0" // later ones need Go 1.27
	goplsModule, gopls     = "golang.org/x/tools/gopls", "v0.21.1"  // of later ones the checksum database does not know all that they need
)

// list is what is run, in the order of the table.
var list = []entry{
	{
		name: "bbolt-few", what: "its tests of transactions, cursors and opening (-short)",
		module: bboltModule, version: bbolt, packages: ".", flags: []string{"-short", "-run=^Test(Tx|Cursor|Open)"}, rounds: 3,
	},
	{
		name: "bbolt-short", what: "the short form of its tests (-short), but for one that takes a value of 2 GiB",
		module: bboltModule, version: bbolt, packages: ". ./internal/... ./cmd/...", flags: []string{"-short", "-skip=ValueTooLarge"}, long: true,
		note: "The difference is in tests that write files of hundreds of MB (TestDB_HugeValue, TestDB_Open_InitialMmapSize): the image's file system against native's in memory.",
	},
	{
		name: "bbolt", what: "its tests but for the concurrent ones",
		module: bboltModule, version: bbolt, packages: ".", flags: []string{"-skip=TestConcurrent"}, memory: "6G", long: true,
	},
	{
		name: "bbolt-concurrent", what: "its concurrent tests, which run for a given time",
		module: bboltModule, version: bbolt, packages: ".", flags: []string{"-run=TestConcurrent"}, memory: "4G", long: true,
	},
	{
		name: "pebble", what: "the tests of packages below (-short), among them sstable, record and vfs",
		module: pebbleModule, version: pebble, flags: []string{"-short"}, memory: "12G", long: true,
		note:     "A test of arenaskl makes a slice of 4 GiB and touches little of it; a sandbox counts what a program may touch.",
		packages: "./bloom ./internal/arenaskl ./internal/cache ./internal/keyspan ./internal/manifest ./record ./sstable ./vfs/...",
	},
	{
		name: "pebble-top", what: "the tests of the package pebble (-short)",
		module: pebbleModule, version: pebble, packages: ".", flags: []string{"-short"}, memory: "4G", long: true,
	},
	{
		name: "sqlite", what: "its tests (-short), but for two that interrupt queries for 200 s each",
		module: sqliteModule, version: sqlite, packages: "./...", flags: []string{"-short", "-skip=TestRegisteredFunctions/.*expiring"}, memory: "4G", long: true, rounds: 3,
		note: "TestConcurrentGoroutines fails on both sides: it starts go test -race, for which there is no cgo. Time: an earlier run, with native's files on the host's disk, had 15.1 s natively and 9.7 s inside.",
	},
	{
		name: "sql", what: "a program of ours that uses it: 200,000 rows in, queries, 3,000 transactions in WAL mode, vacuum",
		module: sqliteModule, version: sqlite, source: "sql", prepare: nothingToPrepare, results: []string{"work.db"}, long: true, rounds: 5,
	},
	{
		name: "esbuild", what: "bundles 300 modules of TypeScript, minified, with a source map",
		module: esbuildModule, version: esbuild, command: esbuildModule + "/cmd/esbuild", prepare: scripts(300), results: []string{"out"}, rounds: 5,
		args:    []string{"src/main.tsx", "--bundle", "--minify", "--sourcemap", "--metafile=out/meta.json", "--outfile=out/bundle.js"},
		varying: regexp.MustCompile(`Done in .*`),
	},
	{
		name: "esbuild-tests", what: "its tests",
		module: esbuildModule, version: esbuild, packages: "./internal/... ./pkg/...", long: true, rounds: 3,
	},
	{
		name: "hugo", what: "makes a site of 800 pages",
		module: hugoModule, version: hugo, command: hugoModule, prepare: site(800), results: []string{"public"}, long: true, rounds: 5,
		args: []string{"--logLevel", "info"}, varying: regexp.MustCompile(`(?m)Total in \d+ ms|^INFO .*(duration|ms|memory).*$|BuildDate=\S+`),
	},
	{
		name: "staticcheck", what: "looks through bbolt; it starts the go command, which compiles what bbolt imports",
		module: toolsModule, version: tools, command: toolsModule + "/cmd/staticcheck", tools: true, prepare: vendored(bboltModule, bbolt), long: true,
		args: []string{"./..."},
		note: "One run while others used both processors; processor time is what to go by.",
	},
	{
		name: "gopls", what: "reports what is wrong or might be better in a file of bbolt; it starts the go command, too",
		module: goplsModule, version: gopls, command: goplsModule, tools: true, prepare: vendored(bboltModule, bbolt), long: true,
		args: []string{"check", "-severity=hint", "db.go", "bucket.go"},
	},
	{
		name: "go-vet", what: "looks through bbolt, with nothing compiled before: the standard library and bbolt are",
		tools: true, prepare: vendored(bboltModule, bbolt), args: []string{"vet", "./..."}, long: true, rounds: 3,
	},
	{
		name: "go-build", what: "builds the command bbolt, with nothing compiled before",
		tools: true, prepare: vendored(bboltModule, bbolt), args: []string{"build", "-trimpath", "-buildvcs=false", "-o", "out/", "./cmd/bbolt"}, results: []string{"out"}, long: true, rounds: 3,
	},
}
