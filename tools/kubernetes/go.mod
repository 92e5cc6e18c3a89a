// The Kubernetes source, for the API description that deploy/ is checked
// against; nothing of it is built.
module github.com/dockless-ci/dockless/tools/kubernetes

go 1.26

require k8s.io/kubernetes v1.34.4
