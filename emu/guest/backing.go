package guest

// Backing is what a mapping of guest memory shows.
type Backing uint8

const (
	BackNone  Backing = iota // nothing: address space only, every access faults (PROT_NONE, NORESERVE)
	BackAnon                 // private zero pages
	BackImage                // private copy-on-write pages of the image, from offset
	BackRAM                  // shared pages of the guest RAM memfd, from offset
)
