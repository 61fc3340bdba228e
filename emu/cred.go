package emu

import (
	"slices"

	"pinhole/abi"
	"pinhole/emu/guest"
	"pinhole/fs/vfs"
)

// idSet are a process's user ids, or its group ids.
type idSet struct{ real, effective, saved uint32 }

// uid returns the effective user id. p.mu is not held.
func (p *Process) uid() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids.user.effective
}

func (t *Task) procUid() (uint64, abi.Errno)  { return uint64(t.proc.userIDs().real), 0 }
func (t *Task) procGid() (uint64, abi.Errno)  { return uint64(t.proc.groupIDs().real), 0 }
func (t *Task) procEuid() (uint64, abi.Errno) { return uint64(t.proc.userIDs().effective), 0 }
func (t *Task) procEgid() (uint64, abi.Errno) { return uint64(t.proc.groupIDs().effective), 0 }

func (p *Process) userIDs() idSet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids.user
}

func (p *Process) groupIDs() idSet {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ids.group
}

// maxGroups is the most supplementary groups a process has (NGROUPS_MAX).
const maxGroups = 65536

// procGroups answers proc_groups (getgroups(2)).
func (t *Task) procGroups(n int32, list abi.Addr) (uint64, abi.Errno) {
	groups := t.proc.fs().Groups
	if n < 0 || n != 0 && int(n) < len(groups) {
		return 0, abi.EINVAL
	}
	if n == 0 {
		return uint64(len(groups)), 0
	}
	b := make([]byte, 4*len(groups))
	for i, g := range groups {
		le.PutUint32(b[4*i:], g)
	}
	if guest.CopyOut(list, b) < len(b) {
		return 0, abi.EFAULT
	}
	return uint64(len(groups)), 0
}

// procSetgroups answers proc_setgroups (setgroups(2)).
func (t *Task) procSetgroups(n uint64, list abi.Addr) (uint64, abi.Errno) {
	if t.proc.uid() != 0 {
		return 0, abi.EPERM
	}
	if n > maxGroups {
		return 0, abi.EINVAL
	}
	b := make([]byte, 4*n)
	if guest.CopyIn(b, list) < len(b) {
		return 0, abi.EFAULT
	}
	groups := make([]uint32, n)
	for i := range groups {
		groups[i] = le.Uint32(b[4*i:])
	}
	return 0, t.proc.changeFS(func(c *vfs.Context) abi.Errno {
		c.Groups = groups
		return 0
	})
}

// unchanged as an id leaves it as it is.
const unchanged = ^uint32(0)

// setAll changes the ids as setresuid(2) does: root to anything, others to ids they have.
func (s *idSet) setAll(root bool, real, effective, saved uint32) abi.Errno {
	have := []uint32{unchanged, s.real, s.effective, s.saved}
	for _, id := range []uint32{real, effective, saved} {
		if !root && !slices.Contains(have, id) {
			return abi.EPERM
		}
	}
	s.put(real, effective, saved)
	return 0
}

// setRealEffective changes the ids as setreuid(2) does: others than root take the effective one from
// those they have, the real one from real and effective.
func (s *idSet) setRealEffective(root bool, real, effective uint32) abi.Errno {
	if !root && (real != unchanged && real != s.real && real != s.effective ||
		effective != unchanged && effective != s.real && effective != s.effective && effective != s.saved) {
		return abi.EPERM
	}
	saved := uint32(unchanged)
	if real != unchanged || effective != unchanged && effective != s.real {
		if saved = effective; saved == unchanged {
			saved = s.effective
		}
	}
	s.put(real, effective, saved)
	return 0
}

// setOne changes the ids as setuid(2) does: root all of them, others the effective one to the real or the
// saved one.
func (s *idSet) setOne(root bool, id uint32) abi.Errno {
	switch {
	case id == unchanged:
		return abi.EINVAL
	case root:
		s.put(id, id, id)
	case id != s.real && id != s.saved:
		return abi.EPERM
	default:
		s.effective = id
	}
	return 0
}

func (s *idSet) put(real, effective, saved uint32) {
	for _, v := range []struct {
		to *uint32
		id uint32
	}{{&s.real, real}, {&s.effective, effective}, {&s.saved, saved}} {
		if v.id != unchanged {
			*v.to = v.id
		}
	}
}

// which picks a process's user or its group ids, and the one among them that file systems look at.
type which func(*identity, *vfs.Context) (ids *idSet, file *uint32)

func users(i *identity, c *vfs.Context) (*idSet, *uint32)  { return &i.user, &c.UID }
func groups(i *identity, c *vfs.Context) (*idSet, *uint32) { return &i.group, &c.GID }

// setIDs changes ids, and with the effective one that of file systems.
func (p *Process) setIDs(pick which, change func(s *idSet, root bool) abi.Errno) abi.Errno {
	return p.changeFS(func(c *vfs.Context) abi.Errno {
		p.mu.Lock()
		defer p.mu.Unlock()
		s, file := pick(&p.ids, c)
		had, hadFile := *s, *file
		if errno := change(s, p.ids.user.effective == 0); errno != 0 {
			return errno
		}
		*file = s.effective
		p.ids.afterChange(s.effective != had.effective || *file != hadFile)
		return 0
	})
}

// afterChange does what a change of an effective or file system id does besides: what the process knows
// may be another user's, and nobody's but root's to look at (prctl(2), PR_SET_DUMPABLE, PR_SET_PDEATHSIG).
func (i *identity) afterChange(changed bool) {
	if changed {
		i.dumpable, i.deathSig = false, 0
	}
}

// becomeItself does what executing a program does to the identity, whose set-user-ID bits have no effect.
func (p *Process) becomeItself() {
	p.changeFS(func(c *vfs.Context) abi.Errno {
		p.mu.Lock()
		defer p.mu.Unlock()
		i := &p.ids
		i.user.saved, i.group.saved = i.user.effective, i.group.effective
		c.UID, c.GID = i.user.effective, i.group.effective
		i.dumpable = i.user.real == i.user.effective && i.group.real == i.group.effective
		p.executed = true
		return 0
	})
}

// procSetresuid answers proc_setresuid (setresuid(2)).
func (t *Task) procSetresuid(r, e, s uint32) (uint64, abi.Errno) {
	return 0, t.proc.setIDs(users, func(ids *idSet, root bool) abi.Errno { return ids.setAll(root, r, e, s) })
}

// procSetresgid answers proc_setresgid (setresgid(2)).
func (t *Task) procSetresgid(r, e, s uint32) (uint64, abi.Errno) {
	return 0, t.proc.setIDs(groups, func(ids *idSet, root bool) abi.Errno { return ids.setAll(root, r, e, s) })
}

// credSetreuid answers cred_setreuid (setreuid(2)).
func (t *Task) credSetreuid(r, e uint32) (uint64, abi.Errno) {
	return 0, t.proc.setIDs(users, func(ids *idSet, root bool) abi.Errno { return ids.setRealEffective(root, r, e) })
}

// credSetregid answers cred_setregid (setregid(2)).
func (t *Task) credSetregid(r, e uint32) (uint64, abi.Errno) {
	return 0, t.proc.setIDs(groups, func(ids *idSet, root bool) abi.Errno { return ids.setRealEffective(root, r, e) })
}

// credSetuid answers cred_setuid (setuid(2)).
func (t *Task) credSetuid(id uint32) (uint64, abi.Errno) {
	return 0, t.proc.setIDs(users, func(ids *idSet, root bool) abi.Errno { return ids.setOne(root, id) })
}

// credSetgid answers cred_setgid (setgid(2)).
func (t *Task) credSetgid(id uint32) (uint64, abi.Errno) {
	return 0, t.proc.setIDs(groups, func(ids *idSet, root bool) abi.Errno { return ids.setOne(root, id) })
}

// setFileID changes the id that file systems look at, if the process may, and returns what it was.
func (p *Process) setFileID(pick which, id uint32) (old uint32) {
	p.changeFS(func(c *vfs.Context) abi.Errno {
		p.mu.Lock()
		defer p.mu.Unlock()
		s, file := pick(&p.ids, c)
		old = *file
		if id != unchanged && (p.ids.user.effective == 0 || id == s.real || id == s.effective || id == s.saved || id == old) {
			*file = id
			p.ids.afterChange(id != old)
		}
		return 0
	})
	return old
}

// credSetfsuid answers cred_setfsuid (setfsuid(2)).
func (t *Task) credSetfsuid(id uint32) (uint64, abi.Errno) {
	return uint64(t.proc.setFileID(users, id)), 0
}

// credSetfsgid answers cred_setfsgid (setfsgid(2)).
func (t *Task) credSetfsgid(id uint32) (uint64, abi.Errno) {
	return uint64(t.proc.setFileID(groups, id)), 0
}

func (t *Task) procGetresuid(r, e, s abi.Addr) (uint64, abi.Errno) {
	return 0, storeIDs([3]abi.Addr{r, e, s}, t.proc.userIDs())
}

func (t *Task) procGetresgid(r, e, s abi.Addr) (uint64, abi.Errno) {
	return 0, storeIDs([3]abi.Addr{r, e, s}, t.proc.groupIDs())
}

func storeIDs(to [3]abi.Addr, ids idSet) abi.Errno {
	for i, id := range [3]uint32{ids.real, ids.effective, ids.saved} {
		if !guest.Store32(to[i], id) {
			return abi.EFAULT
		}
	}
	return 0
}
