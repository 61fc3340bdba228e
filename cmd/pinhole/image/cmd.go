package image

// Cmd is the command "pinhole image", for kong.
type Cmd struct {
	Create   createCmd   `cmd:"" help:"Make an image: empty, or of a directory or a tar archive."`
	Import   importCmd   `cmd:"" help:"Put a directory, an archive or a container image into an image."`
	Export   exportCmd   `cmd:"" help:"Write files of an image as a tar archive."`
	Ls       lsCmd       `cmd:"" help:"List what is in an image."`
	Cat      catCmd      `cmd:"" help:"Write files of an image to standard output."`
	Put      putCmd      `cmd:"" help:"Copy files and directories into an image."`
	Get      getCmd      `cmd:"" help:"Copy files and directories out of an image."`
	Resize   resizeCmd   `cmd:"" help:"Make an image larger or smaller."`
	Clone    cloneCmd    `cmd:"" help:"Copy an image."`
	Snapshot snapshotCmd `cmd:"" help:"Keep a copy of an image as it is, go back to one, list them."`
	Info     infoCmd     `cmd:"" help:"Tell size, free space, features and state of an image."`
	Check    checkCmd    `cmd:"" help:"Check an image for damage."`
}
