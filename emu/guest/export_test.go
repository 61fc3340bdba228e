package guest

import "pinhole/abi"

// SetAreaForTest leaves TestMode and sets the area.
func SetAreaForTest(lo, hi abi.Addr) {
	testing = false
	SetArea(lo, hi, 0, 0)
}
