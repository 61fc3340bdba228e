package vfstest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// TreeOptions says what a tree generator does besides what all file systems have.
type TreeOptions struct {
	Devices bool  // character and block devices
	Users   bool  // some steps as somebody who is not root
	Xattrs  bool  // extended attributes
	Tmpfile bool  // files without a name
	Remount bool  // unmounts and mounts, and caches that are dropped
	Large   bool  // directories of many names
	Hoard   bool  // rather make than remove, until there is no room
	Bytes   int   // most of one write; 0 for 20000
	Size    int64 // most that a file has; 0 for 200000
	Names   int   // names in a directory that steps come back to; 0 for 12
}

// NewTree returns a generator of steps on a tree of names, after fsstress: every call that
// changes or looks at names and attributes, and some content. It remembers about what there is,
// so that most steps do something.
func NewTree(o TreeOptions) func(seed uint64) Generator {
	if o.Bytes == 0 {
		o.Bytes = 20000
	}
	if o.Size == 0 {
		o.Size = 200000
	}
	if o.Names == 0 {
		o.Names = 12
	}
	return func(seed uint64) Generator {
		g := &tree{o: o, rnd: rand.New(rand.NewPCG(seed, 1)), dirs: []string{"."}, held: make(map[string]bool)}
		g.ops = g.operations()
		for _, op := range g.ops {
			g.total += op.weight
		}
		return g
	}
}

type tree struct {
	o     TreeOptions
	rnd   *rand.Rand
	ops   []treeOp
	total int
	dirs  []string // paths; "." first
	files []string // everything else
	held  map[string]bool
	queue []string // steps that come next
	user  bool     // not root for the moment
	short bool     // there was no room: rather remove
}

type treeOp struct {
	weight int
	make   func() string
}

// n is a number below k.
func (g *tree) n(k int) int { return g.rnd.IntN(k) }

func pick[T any](rnd *rand.Rand, list ...T) T { return list[rnd.IntN(len(list))] }

// join puts a path together without "./".
func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// name is a name for something new.
func (g *tree) name() string {
	i := g.n(g.o.Names)
	switch g.n(12) {
	case 0:
		return fmt.Sprintf("{%c*%d}%d", 'a'+i%26, 20+g.n(230), i)
	case 1:
		return fmt.Sprintf("x%d", g.n(g.o.Names*20))
	}
	return fmt.Sprintf("n%d", i)
}

// dir is a directory that should exist, new a path for something new, file one that should
// exist and is no directory, any one of anything.
func (g *tree) dir() string {
	if g.n(20) == 0 {
		return g.odd()
	}
	return pick(g.rnd, g.dirs...)
}

func (g *tree) new() string {
	if g.n(15) == 0 {
		return g.any()
	}
	return join(pick(g.rnd, g.dirs...), g.name())
}

func (g *tree) file() string {
	if len(g.files) == 0 || g.n(20) == 0 {
		return g.odd()
	}
	return pick(g.rnd, g.files...)
}

func (g *tree) any() string {
	switch g.n(12) {
	case 0:
		return g.odd()
	case 1, 2, 3, 4:
		return g.dir()
	}
	return g.file()
}

// odd is a path that may lead nowhere, or somewhere on a detour.
func (g *tree) odd() string {
	p := pick(g.rnd, g.dirs...)
	switch g.n(7) {
	case 0:
		return join(p, g.name()) + "/"
	case 1:
		return p + "/.."
	case 2:
		return p + "/."
	case 3:
		return join(p, "missing/"+g.name())
	case 4:
		if len(g.files) > 0 {
			return pick(g.rnd, g.files...) + "/" + g.name()
		}
	case 5:
		return join(p, g.name()+"/../"+g.name())
	}
	return join(p, g.name())
}

// handle is a name of held files.
func (g *tree) handle() string { return fmt.Sprintf("h%d", g.n(6)) }

func (g *tree) open() string {
	list := make([]string, 0, 8)
	for h := range g.held {
		list = append(list, h)
	}
	if len(list) == 0 {
		return ""
	}
	slices.Sort(list)
	return pick(g.rnd, list...)
}

// offset is one in a file: mostly near the start, sometimes at a boundary of blocks.
func (g *tree) offset() int64 {
	off := g.rnd.Int64N(g.o.Size)
	if g.n(2) == 0 {
		off /= 16
	}
	if g.n(3) == 0 {
		off &^= 1023
	}
	return off
}

func (g *tree) content() string {
	n := g.n(g.o.Bytes)
	if g.n(3) > 0 {
		n /= 20
	}
	return fmt.Sprintf("{@%d*%d}", g.n(1000), n)
}

func (g *tree) attribute() string {
	return pick(g.rnd, "user.", "user.", "trusted.", "security.x") + pick(g.rnd, "a", "b", "name", "z")
}

// held returns a maker of steps that need a held file.
func (g *tree) onHeld(f func(h string) string) func() string {
	return func() string {
		if h := g.open(); h != "" {
			return f(h)
		}
		return fmt.Sprintf("hold %s %s creat|rw 644", g.handle(), g.new())
	}
}

func (g *tree) operations() []treeOp {
	sf := fmt.Sprintf
	ops := []treeOp{
		{6, func() string { return sf("mkdir %s %o", g.new(), pick(g.rnd, 0o755, 0o700, 0o777, 0o2755)) }},
		{3, func() string { return sf("mknod %s %s %o", g.new(), pick(g.rnd, "reg", "fifo", "sock"), g.n(0o1000)) }},
		{8, func() string { return sf("open %s creat|excl|rw %o", g.new(), g.n(0o1000)) }},
		{5, func() string { return sf("symlink %s %s", g.target(), g.new()) }},
		{6, func() string { return sf("link %s %s", g.file(), g.new()) }},
		{9, func() string { return "unlink " + g.file() }},
		{4, func() string { return "rmdir " + g.dir() }},
		{6, func() string { return sf("rename %s %s", g.any(), g.new()) }},
		{3, func() string { return sf("rename %s %s", g.any(), g.any()) }},
		{2, func() string { return sf("rename %s %s noreplace", g.any(), g.new()) }},
		{3, func() string { return sf("rename %s %s exchange", g.any(), g.any()) }},
		{3, func() string { return sf("chmod %s %o", g.any(), g.n(0o10000)&0o6777) }},
		{2, func() string { return sf("lchown %s %d %d", g.any(), g.n(3)*40000, g.n(3)*1000) }},
		{3, func() string {
			return sf("ltimes %s %d.%d %d.%d", g.any(), g.n(clockBase), g.n(1e9), g.n(clockBase), g.n(1e9))
		}},
		{3, func() string { return sf("truncate %s %d", g.file(), g.offset()) }},
		{6, func() string { return sf("hold %s %s creat|rw 644", g.handle(), g.new()) }},
		{3, func() string {
			return sf("hold %s %s %s", g.handle(), g.file(), pick(g.rnd, "rw", "rw|trunc", "rw|append"))
		}},
		{6, g.onHeld(func(h string) string { return sf("fput %s %d %s", h, g.offset(), g.content()) })},
		{4, g.onHeld(func(h string) string { return sf("fadd %s %s", h, g.content()) })},
		{3, g.onHeld(func(h string) string { return sf("fsum %s %d %d", h, g.offset(), g.n(g.o.Bytes*2)) })},
		{2, g.onHeld(func(h string) string { return sf("ftruncate %s %d", h, g.offset()) })},
		{2, g.onHeld(func(h string) string {
			return sf("fallocate %s %s %d %d", h, pick(g.rnd, "0", "keep", "keep|punch", "zero", "keep|zero"), g.offset(), 1+g.n(g.o.Bytes*2))
		})},
		{2, g.onHeld(func(h string) string { return "flook " + h })},
		{1, g.onHeld(func(h string) string { return "holes " + h })},
		{1, g.onHeld(func(h string) string { return pick(g.rnd, "fsync ", "fdatasync ") + h })},
		{3, g.onHeld(func(h string) string { return "drop " + h })},
		{4, func() string { return "look " + g.any() }},
		{2, func() string { return "target " + g.file() }},
		{3, func() string { return "names " + g.dir() }},
		{2, func() string { return sf("names %s %d", g.dir(), 1+g.n(9)) }},
		{1, func() string { return "statfs" }},
	}
	if g.o.Devices {
		ops = append(ops, treeOp{2, func() string {
			return sf("mknod %s %s 640 %d", g.new(), pick(g.rnd, "chr", "blk"), pick(g.rnd, 259, 1, 0x12345, 0x89abcde1))
		}})
	}
	if g.o.Xattrs {
		ops = append(ops,
			treeOp{5, func() string {
				return sf("setxattr %s %s {@%d*%d}%s", g.any(), g.attribute(), g.n(1000), g.n(120), pick(g.rnd, "", "", "", " create", " replace"))
			}},
			treeOp{2, func() string { return sf("rmxattr %s %s", g.any(), g.attribute()) }},
			treeOp{1, func() string { return sf("value %s %s", g.any(), g.attribute()) }},
			treeOp{2, func() string { return "xattrs " + g.any() }})
	}
	if g.o.Users {
		ops = append(ops, treeOp{1, func() string {
			g.user = true
			return "become " + pick(g.rnd, "40000:1000", "1000", "80000:80000,1000")
		}})
	}
	if g.o.Tmpfile {
		ops = append(ops, treeOp{2, func() string { return sf("tmpfile %s %s 600", g.handle(), g.dir()) }},
			treeOp{2, g.onHeld(func(h string) string { return sf("publish %s %s", h, g.new()) })})
	}
	if g.o.Large {
		ops = append(ops, treeOp{1, g.many})
	}
	return ops
}

func (g *tree) target() string {
	switch g.n(6) {
	case 0:
		return fmt.Sprintf("{t*%d}", 1+g.n(900))
	case 1:
		return "../" + g.name()
	}
	return g.name()
}

// many fills a directory, or clears what another such step has made.
func (g *tree) many() string {
	dir, base, count := pick(g.rnd, g.dirs...), g.n(4)*1000, 50+g.n(250)
	remove := g.n(5) < 2
	for i := range count {
		name := join(dir, fmt.Sprintf("m{%c*%d}%d", 'a'+i%26, i%5*10, base+i))
		switch {
		case remove:
			g.queue = append(g.queue, "unlink "+name)
		default:
			g.queue = append(g.queue, fmt.Sprintf("mknod %s reg 600", name))
		}
	}
	g.queue = append(g.queue, "names "+dir)
	return "names " + dir + " 40"
}

// Next implements Generator.
func (g *tree) Next() string {
	if len(g.queue) > 0 {
		line := g.queue[0]
		g.queue = g.queue[1:]
		return line
	}
	if g.short && g.n(3) > 0 {
		g.short = g.n(30) > 0
		if g.n(4) == 0 {
			return fmt.Sprintf("truncate %s %d", g.file(), g.offset()/8)
		}
		return pick(g.rnd, "unlink "+g.file(), "unlink "+g.file(), "drop "+g.anyHeld())
	}
	if g.o.Remount && g.n(1500) == 0 {
		return pick(g.rnd, "remount", "caches", "caches")
	}
	if g.user && g.n(20) == 0 {
		g.user = false
		return "become 0"
	}
	if g.n(400) == 0 {
		return "sync"
	}
	k := g.n(g.total)
	line := ""
	for _, op := range g.ops {
		if k -= op.weight; k < 0 {
			line = op.make()
			break
		}
	}
	if g.o.Hoard && !g.short && g.n(3) > 0 {
		for _, less := range []string{"unlink ", "truncate ", "ftruncate "} {
			if strings.HasPrefix(line, less) {
				return g.Next()
			}
		}
	}
	return line
}

func (g *tree) anyHeld() string {
	if h := g.open(); h != "" {
		return h
	}
	return "h0"
}

// Done implements Generator.
func (g *tree) Done(line, result string) {
	if result == "ENOSPC" {
		g.short = true
	}
	a := strings.Fields(line)
	ok := result == "OK" || strings.HasPrefix(result, "OK ")
	switch {
	case a[0] == "remount":
		clear(g.held)
	case a[0] == "drop":
		delete(g.held, a[1])
	case !ok:
	default:
		g.learn(a)
	}
}

// learn keeps what g knows about the tree up to date after a step that was done. Paths with
// detours are not followed: it is only about likely paths.
func (g *tree) learn(a []string) {
	const most = 400
	add := func(list *[]string, path string) {
		path = strings.TrimSuffix(path, "/")
		if strings.Contains(path, "..") || strings.HasSuffix(path, "/.") || slices.Contains(*list, path) {
			return
		}
		if len(*list) > most {
			i := 1 + g.n(most-1)
			(*list)[i] = path
			return
		}
		*list = append(*list, path)
	}
	drop := func(path string) {
		gone := func(p string) bool { return p != "." && (p == path || strings.HasPrefix(p, path+"/")) }
		g.dirs = slices.DeleteFunc(g.dirs, gone)
		g.files = slices.DeleteFunc(g.files, gone)
	}
	switch a[0] {
	case "mkdir":
		if strings.Count(a[1], "/") < 6 && len(g.dirs) < 60 {
			add(&g.dirs, a[1])
		}
	case "mknod", "open":
		if !strings.HasPrefix(a[1], "m{") && !strings.Contains(a[1], "/m{") {
			add(&g.files, a[1])
		}
	case "symlink", "link", "publish":
		add(&g.files, a[2])
	case "hold":
		g.held[a[1]] = true
		add(&g.files, a[2])
	case "tmpfile":
		g.held[a[1]] = true
	case "unlink", "rmdir":
		drop(a[1])
	case "rename":
		if len(a) > 3 && a[3] == "exchange" {
			drop(a[1])
			drop(a[2])
			return
		}
		isDir := slices.Contains(g.dirs, a[1])
		drop(a[1])
		drop(a[2])
		if isDir {
			add(&g.dirs, a[2])
		} else {
			add(&g.files, a[2])
		}
	}
}
