// Package jbd2 is the journal of an ext4 file system: it replays what the last user has left
// ([Journal.Replay]), and takes transactions ([Log]). The format is that of Linux's jbd2, as the
// kernel's documentation of ext4 describes it under "Journal (jbd2)".
//
// A log holds transactions one behind the other, round and round: revoke blocks, descriptor
// blocks each with the copies that it describes, and a commit block, which makes it count. It
// begins where the journal's superblock says, and ends where something else than the next
// transaction's blocks is found.
//
// The journal is hostile like the rest of the image: every number in it is checked, no walk is
// longer than the journal, and memory is bounded by its length.
package jbd2
