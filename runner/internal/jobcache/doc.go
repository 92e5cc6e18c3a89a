// Package jobcache knows how folders are kept from one run to the next, as Cache@2
// does (language §5.6, protocol §9.4): under keys that texts and the content of
// files make up, in scopes by branch, and never overwritten.
//
// [Parse] reads the keys of a task and [Resolve] hashes the files they name. A
// [Policy] says which scopes a job reads and which one it writes. A [Cache] keeps
// the folders: in a directory that agents on one volume share, and in a registry,
// where an agent on another node finds them. A registry that does not answer is
// nothing but a miss.
//
// It talks to the file system and to that registry.
package jobcache
