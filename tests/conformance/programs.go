// Package conformance pins the validation programs of opencontainers/runtime-tools, which nobody here wrote.
//
//go:build programs

package conformance

import (
	_ "github.com/opencontainers/runtime-tools/cmd/runtimetest"
	_ "github.com/opencontainers/runtime-tools/validation/util"
)
