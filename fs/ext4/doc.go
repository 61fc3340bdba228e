// Package ext4 is a read-write ext4 file system over a [blockdev.Device], for images that
// mkfs.ext4 makes and that e2fsck, debugfs and Linux's own driver go on using.
//
// # Reading the source
//
// fs.go mounts and unmounts; superblock.go, group.go and zone.go know the geometry.
// cache.go holds metadata blocks, page.go file content. inode.go and icache.go are the
// inodes, extent.go and its neighbours say where content is, dir.go and htree.go what is
// in directories, xattr.go what is in attributes. balloc.go and ialloc.go find free blocks
// and inodes, with freespace.go to tell them where to look. Operations of the vfs have a
// file by their noun (create.go, rename.go, write.go, truncate.go ...). handle.go is how
// every change of metadata is made, commit.go and journal.go how changes reach the device,
// flusher.go when. damage.go tells of what is found wrong.
//
// As in Linux, a directory gets a hash tree when it outgrows its first block; one that was
// made linear and long by something else stays so, and e2fsck -D is the way to index it.
//
// # The image is hostile
//
// Nothing read from the device is believed: sizes, counts and block numbers are checked
// before they index, loop or allocate anything. What contradicts the format is a
// [CorruptError], which makes the file system read-only.
//
// # Changing metadata
//
// A change takes the locks of its inodes, begins a [handle], gets write access to each
// block and inode that it will change, changes them, and ends the handle. All changes of a
// handle are in one transaction. A commit waits for open handles to end, copies the
// transaction's blocks (inodes are encoded into their table blocks only then, and
// checksums computed), lets new handles begin, writes the transaction's file content, and
// then the copies.
//
// # Lock order
//
// namespace lock (rmdir and rename of directories), writeback lock of an inode, inodes
// (directory before its child; only under the namespace lock two directories), transaction
// lock (shared by handles, exclusive for a commit's copy), shared attributes, group, index
// of free space, bitmap cache (which only tries the locks of other groups), inode cache
// shard, buffer cache shard, page list, damage, device. An inode's persistent fields are
// changed under both its lock and the shared transaction lock, so that either lock (the
// transaction lock exclusively) suffices to read them.
package ext4
