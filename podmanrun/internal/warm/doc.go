// Package warm knows how to keep the files of a service that has started once, and
// to put them back. A [Store] keeps fixtures by key, in scopes:
//
//	<dir>/<scope>/<key>/       one fixture: about.json, hits, and what its maker put there
//	<dir>/<scope>/.new-<key>/  one that is being kept
//	<dir>/<scope>/.old-*/      one that is removed as soon as nobody reads it
//
// A fixture gets its name when it is whole. Locks are on the folders themselves:
// readers share theirs, a writer and whoever removes have it alone, nobody waits, and
// the kernel takes a lock back from a process that dies. [Key] makes keys from what a
// service starts from; [Copy] copies trees, by reference where the file system can.
package warm
