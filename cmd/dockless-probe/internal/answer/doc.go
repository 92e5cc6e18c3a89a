// Package answer knows how dockless-probe turns its command line into one line
// and an exit code. The command calls [Run] before the Go runtime has started,
// so everything here uses the stack and system calls and nothing else: no
// allocation, no map, no interface, no package os. It imports probe alone.
package answer
