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
// flusher.go when. Content goes from write.go by way of reserve.go, pagecache.go, behind.go
// (when), writeback.go, claim.go and place.go to the device; mapframes.go is for shared
// mappings. reserve.go and treereserve.go say why there is always room for what was taken, zeroout.go
// what is done for content of unwritten extents. damage.go tells of what is found wrong.
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
// # Content
//
// Write copies into frames of the cache, which lie in memory that the device can be given, and
// reserves the space that they will need; no transaction is involved. What is short-lived never
// gets further. Later, or when somebody syncs or memory gets short, dirty pages are gathered in
// large batches: blocks without a place get a claim, which is known in memory only; the device
// takes the content; and then a transaction enters the claims in the extent tree and moves the
// size on disk. So a crash at any moment leaves the file with what it had, or with what was
// written, and no block is lost. inode.size is the size in memory, inode.d.Size the one on disk;
// they differ only while content is on its way.
//
// Content that could not be written stays dirty and is tried again until the unmount; each open
// file is told once (errseq.go).
//
// # Changing metadata
//
// A change takes the locks of its inodes, begins a [handle] with the number of blocks that it
// may change, gets write access to each block and inode that it will change, changes them, and
// ends the handle. All changes of a handle are in one transaction. A handle waits for nothing:
// not for another handle, a commit, a frame, or the lock of an inode that others know. To begin
// one may mean to wait for a commit and a checkpoint, which take no inode's lock.
//
// A commit waits for open handles to end, copies the transaction's blocks (inodes are encoded
// into their table blocks only then, and checksums computed), lets new handles begin, and gives
// the copies to the journal, in one request to the device: the blocks, a flush, the commit
// record, a flush. Content has been written before the transaction that leads to it began to
// exist, so that the first flush covers it, too. Who needs the same transaction waits for the
// same commit; a flush counts for whoever's writes had returned when it started (syncdevice.go).
//
// What is committed goes home later, in large sorted batches that copy from the log itself
// ([jbd2.Log]); until then, blocks that are not in memory are read from there. The log's tail
// moves when what it passes is on stable storage at home, and log blocks are used again when
// the journal's superblock with the new tail is. Metadata blocks that are freed are revoked in
// the transaction that frees them, and may be used again, for whatever, when it is committed.
//
// A write that fails for want of space behind the device makes its transaction wait, and every
// commit tries it again first. Any other failure of the journal, and any corruption that is
// found, aborts it: nothing is committed any more, the file system is read-only, and both
// superblocks say why, if they can be written. So does a flush that fails, for whatever reason:
// what was written before it may be lost, and no later flush would tell.
//
// A file system without a journal has its transactions written home at once, content before
// metadata and what is new before what leads to it, and is marked as not clean meanwhile.
//
// # Lock order
//
// namespace lock (rmdir and rename of directories), writeback lock of an inode, inodes
// (directory before its child; only under the namespace lock two directories), commit lock,
// transaction lock (shared by handles, exclusive for a commit's copy), orphans, shared
// attributes, group, index of free space, bitmap cache (which only tries the locks of other
// groups), inode cache shard, journal, buffer cache shard, page list, damage, device. An
// inode's persistent fields are
// changed under both its lock and the shared transaction lock, so that either lock (the
// transaction lock exclusively) suffices to read them.
package ext4
