// Package containerd pins critest, Kubernetes' own test and benchmark of the CRI, by which `make bench`
// measures containerd. Nothing of it is in podrun. `make peers` builds it: critest is a test binary
// whose cases lie in these packages.
package containerd

import (
	_ "sigs.k8s.io/cri-tools/pkg/benchmark"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
