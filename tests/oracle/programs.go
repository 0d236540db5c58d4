// Package oracle pins the kube-apiserver by which `make test-oracle` judges what podrun makes of manifests.
// Nothing of it is in podrun.
//
//go:build programs

package oracle

import _ "k8s.io/kubernetes/cmd/kube-apiserver"
