// Package check finds what is wrong with an ext4 file system, as e2fsck -fn does, without
// changing it and without believing anything that is on it. It shares no code with the mounted
// file system but the on-disk structures ([pinhole/fs/ext4/disk]), so that neither's mistakes
// hide in the other, and the journal's replay.
//
// # Passes
//
//	0  superblock, group descriptors, journal, resize inode, orphans    super.go group.go journal.go resize.go orphan.go
//	1  inodes, their block maps and attributes; which blocks are in use inode.go extent.go indirect.go xattr.go
//	1b owners of blocks that are claimed more than once                 shared.go
//	2  directories: entries, hash trees, names that are there twice     dir.go htree.go names.go
//	3  every directory can be reached from the root                     connect.go
//	4  link counts, and inodes without names                            links.go
//	5  bitmaps and counts of free blocks and inodes                     count.go
//
// What is found is data: a [Problem] has a code, the object it is about, and a sentence.
//
// # Memory
//
// One bit for each block of the device in use (in pieces of 32,768 blocks; pieces without a block
// in use cost nothing), 5 bytes for each inode of a piece of 1,024 with one in use, 24 bytes for
// each directory (and 4 more in pass 3), 16 for each run of blocks of a directory, and 88 for each
// block group. While a directory is looked at: 8 bytes for each of its names, up to 128 MiB, and 12
// for each block if it has a hash tree. So a full file system of 1 TiB in 4 KiB blocks with
// 10,000,000 files in 1,000,000 directories takes 32 + 50 + 44 MB. A hostile image cannot make it
// more: whatever takes memory takes at least as much room on the device.
//
// # Time
//
// Each block is read a bounded number of times, however many claim it: what was claimed before is
// not looked at again below the second claim. The check gives up after [maxProblems] problems.
//
// Sources: Documentation/filesystems/ext4 of the Linux kernel; for what counts as a problem, the
// behaviour of e2fsck 1.47, with which the tests compare on thousands of damaged images.
package check
