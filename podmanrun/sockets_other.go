//go:build !linux

package podmanrun

// listener knows Linux only.
func listener(string, string, uint16) string { return "" }
