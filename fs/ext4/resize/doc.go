// Package resize changes the size of an ext4 file system that is not mounted, in both directions.
//
// # Crashes
//
// [Resize] does its steps in place and in no order that a crash would survive. The caller works on a copy and
// puts it in the place of the original when Resize has returned (a copy by reflink costs nothing), or has
// nothing to lose.
//
// [Grow] makes a file system larger where it is, and is safe: the steps are Resize's, but what they write before
// the old end is kept in memory, and becomes one transaction of the file system's own journal. It gives up,
// with [ErrInPlace], where there is no such journal, or too small a one.
//
// # Growing
//
// New groups are added; with flex_bg, the bitmaps and inode tables of whole new flexible groups lie
// together. When the descriptor table becomes longer, it takes the blocks that mke2fs has reserved for that
// (resize_inode); where there are none, or not enough, what lies behind the table (a bitmap, an inode table,
// a file's blocks) moves away. File systems with meta_bg have a place for descriptors in each group and need
// neither. So no feature is switched on that was not there.
//
// # Shrinking
//
// Inodes of groups that go away move to others (their numbers change, in all directories, too), and so do
// blocks behind the new end, whatever they are: content, extent trees and indirect blocks, attributes,
// directories, journal, bitmaps, inode tables. Blocks that the table no longer needs become reserved ones,
// or free.
//
// # The image is hostile
//
// The file system should have passed a check before: what contradicts the format is an error here, too, but
// not looked for. Sizes, counts and block numbers are checked before they index or allocate anything.
package resize
