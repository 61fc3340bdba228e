package procfs

import "pinhole/abi"

// dir describes a directory; all directories of one kind share it.
type dir struct {
	mode    uint32
	entries []entry
	// list is for names that come and go.
	list lister
}

// entry is a name that is always there.
type entry struct {
	name string
	mode uint32 // type and permission bits
	sub  *dir   // of a directory
	file string // name that the kernel knows a file by
	link string // text of a symbolic link; "": the kernel knows
}

// lister says what else is in a directory.
type lister uint8

const (
	listNothing   lister = iota
	listProcesses        // directories by process number
	listThreads          // directories by thread number
	listLinks            // links by descriptor
	listInfo             // files by descriptor
)

const (
	dirMode   = abi.S_IFDIR | 0o555
	fileMode  = abi.S_IFREG | 0o444
	ownMode   = abi.S_IFREG | 0o400 // for the owner only
	writeMode = abi.S_IFREG | 0o644
	linkMode  = abi.S_IFLNK | 0o777
)

func file(name string) entry { return entry{name: name, mode: fileMode, file: name} }

func own(name string) entry { return entry{name: name, mode: ownMode, file: name} }

func writable(name string) entry { return entry{name: name, mode: writeMode, file: name} }

func link(name string) entry { return entry{name: name, mode: linkMode} }

func sub(name string, d *dir) entry { return entry{name: name, mode: d.mode, sub: d} }

// under makes a directory of system files below path.
func under(path string, names ...string) *dir {
	d := &dir{mode: dirMode}
	for _, n := range names {
		d.entries = append(d.entries, entry{name: n, mode: fileMode, file: path + "/" + n})
	}
	return d
}

func with(d *dir, more ...entry) *dir {
	d.entries = append(d.entries, more...)
	return d
}

var rootDir = dir{
	mode: dirMode,
	list: listProcesses,
	entries: []entry{
		link("self"),
		{name: "mounts", mode: linkMode, link: "self/mounts"},
		file("cmdline"), file("cpuinfo"), file("filesystems"), file("loadavg"), file("meminfo"),
		file("stat"), file("uptime"), file("version"),
		sub("sys", &sysDir),
	},
}

var sysDir = dir{
	mode: dirMode,
	entries: []entry{
		sub("fs", under("sys/fs", "file-max", "nr_open", "pipe-max-size")),
		sub("kernel", with(
			under("sys/kernel", "cap_last_cap", "hostname", "ngroups_max", "osrelease", "ostype", "pid_max", "threads-max", "version"),
			sub("random", under("sys/kernel/random", "boot_id", "entropy_avail", "uuid")))),
		sub("vm", under("sys/vm", "max_map_count", "mmap_min_addr", "overcommit_memory")),
	},
}

// threadFiles are the files that processes and threads both have.
var threadFiles = []entry{
	own("auxv"), file("cgroup"), file("cmdline"), writable("comm"), link("cwd"), own("environ"), link("exe"),
	sub("fd", &fdDir), sub("fdinfo", &infoDir), file("limits"), file("maps"), file("mountinfo"), file("mounts"),
	link("root"), file("stat"), file("statm"), file("status"),
}

var processDir = dir{mode: dirMode, entries: append([]entry{sub("task", &taskDir)}, threadFiles...)}

var (
	threadDir = dir{mode: dirMode, entries: threadFiles}
	taskDir   = dir{mode: dirMode, list: listThreads}
	fdDir     = dir{mode: abi.S_IFDIR | 0o500, list: listLinks}
	infoDir   = dir{mode: dirMode, list: listInfo}
)
