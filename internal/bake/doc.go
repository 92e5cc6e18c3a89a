// Package bake knows how to read the files of `docker buildx bake` and how to
// build what they describe.
//
// [Read] finds and reads the files, [Resolve] makes a [Plan] of them: the targets
// that are wanted with everything that they inherit, link to or have overridden.
// Compose files and JSON are read here. HCL, and an expression in JSON that is
// more than a reference to a variable, is resolved by the buildx plugin, which
// prints the same form as JSON; its parser is not linked, because it costs more
// than half of what this program weighs. [Plan.Requests] turns the targets into
// requests for internal/imagebuild, and [Run] builds them in the order of their
// links, handing the image of one target to another as a named context.
package bake
