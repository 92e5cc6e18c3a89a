// Package imagebuild knows how to build one container image on BuildKit: what
// `docker buildx build` is told, plus our cache policy. It talks to the nodes of
// a [buildxsetup.Builder] and, for an image built earlier, to registries.
//
// One use flows like this: a [Request] says what to build and where the result
// goes; [Builder.Build] shares its platforms out among the nodes, solves on each
// with BuildKit's Dockerfile frontend, draws the progress and puts one image
// together, then exports the cache in a second, bounded solve that can no longer
// spoil the image. The [Result] holds digest, names, metadata
// as buildx writes it, and every step with what became of it. A build without
// push can keep its image in a [imagelayout.Layout], from where the same bytes are pushed or
// loaded later.
package imagebuild
