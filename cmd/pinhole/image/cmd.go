package image

// Cmd is the command "pinhole image", for kong.
type Cmd struct {
	Create   createCmd   `cmd:"" group:"Images:" help:"Make an image: empty, or of a directory, an archive or a container image."`
	Import   importCmd   `cmd:"" group:"Images:" help:"Put a directory, an archive or a container image into an image."`
	Export   exportCmd   `cmd:"" group:"Images:" help:"Write files of an image as a tar archive."`
	Clone    cloneCmd    `cmd:"" group:"Images:" help:"Copy an image."`
	Snapshot snapshotCmd `cmd:"" group:"Images:" help:"Keep a copy of an image as it is, go back to one, list them."`
	Resize   resizeCmd   `cmd:"" group:"Images:" help:"Make an image larger or smaller."`
	Info     infoCmd     `cmd:"" group:"Images:" help:"Tell size, free space, features and state of an image."`
	Check    checkCmd    `cmd:"" group:"Images:" help:"Check an image for damage."`
	Df       dfCmd       `cmd:"" group:"Images:" help:"Tell how much of images is in use."`

	Ls    lsCmd    `cmd:"" group:"Files in an image:" help:"List files."`
	Find  findCmd  `cmd:"" group:"Files in an image:" help:"Find files by name, size, age, owner and more."`
	Du    duCmd    `cmd:"" group:"Files in an image:" help:"Tell how much room directories take."`
	Cat   catCmd   `cmd:"" group:"Files in an image:" help:"Write files to standard output."`
	Get   getCmd   `cmd:"" group:"Files in an image:" help:"Copy files and directories out of the image."`
	Put   putCmd   `cmd:"" group:"Files in an image:" help:"Copy files and directories into the image."`
	Rm    rmCmd    `cmd:"" group:"Files in an image:" help:"Remove files."`
	Mkdir mkdirCmd `cmd:"" group:"Files in an image:" help:"Make directories."`
	Mv    mvCmd    `cmd:"" group:"Files in an image:" help:"Move files, or give them other names."`
	Ln    lnCmd    `cmd:"" group:"Files in an image:" help:"Give a file another name, or make a symbolic link."`
	Chmod chmodCmd `cmd:"" group:"Files in an image:" help:"Change permissions."`
	Chown chownCmd `cmd:"" group:"Files in an image:" help:"Change owners."`
	Xattr xattrCmd `cmd:"" group:"Files in an image:" help:"List or change extended attributes."`
}
