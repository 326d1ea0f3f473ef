// Package dsv4 is DeepSeek-V4 inside your own program: Go over the C header dsv4.h.
//
//	model, err := dsv4.Open(ctx, "path/to/checkpoint", nil)
//	defer model.Close()
//	session, err := model.NewSession(nil)
//	defer session.Close()
//	session.AppendMessage(dsv4.RoleUser, "Hello")
//	_, err = session.Generate(ctx, nil, func(e dsv4.Event) dsv4.Action {
//		fmt.Print(e.Text)
//		return dsv4.Continue
//	})
//
// Rules that hold everywhere:
//
//   - A [Model] may be used from any goroutines at once. A [Session] belongs to one call at a time: a second one is
//     answered [ErrBusy]. [Session.Cancel] and Close alone may be called at any time from any goroutine.
//   - Close is explicit and may be repeated. What is still in use is released when its last call returns. Finalizers
//     are there as a safety net only: the memory behind a handle is large, and Go's collector does not see it.
//   - Contexts end calls: a generation within one token, a prefill within one layer. The error then is both
//     [ErrCancelled] and the context's own, for [errors.Is].
//   - Callbacks run on the goroutine that made the call. They may panic, and the panic goes on once C has been left;
//     they may not call [runtime.Goexit], which testing.T.FailNow does. They may not call into the same session, but
//     for [Session.Cancel].
//   - The package starts a goroutine only to watch a context while a call runs, and none outlives its call.
//
// The library is found by CGO_CFLAGS and CGO_LDFLAGS, or, with the build tag dsv4_pkgconfig, by pkg-config.
package dsv4

/*
#cgo !dsv4_pkgconfig LDFLAGS: -ldsv4
#cgo dsv4_pkgconfig pkg-config: dsv4
#include <dsv4.h>
*/
import "C"

// Version is that of the library that is running: major * 1000000 + minor * 1000 + patch.
func Version() uint32 { return uint32(C.dsv4_version()) }

// BuildInfo says what the library that is running was built with, and what it can use here.
type BuildInfo struct {
	Version    string // "0.1.0"
	Backends   string // that can be used here, best first: "cuda cpu reference"
	OneDNN     string // version, or "" without
	CUDA       string // version of the toolkit, or "" where the cuda backend cannot be used
	ISA        string // instruction sets that the cpu backend can use here, best first
	Compiler   string
	CUDAReason string // why the cuda backend cannot be used here; "" where it can
}

// Build reports what the library can do here. The first call looks for a GPU, which can take a second.
func Build() (BuildInfo, error) {
	info := C.dsv4_build_info{struct_size: C.sizeof_dsv4_build_info}
	var cerr *C.dsv4_error
	if err := check(C.dsv4_build_info_get(&info, &cerr), cerr); err != nil {
		return BuildInfo{}, err
	}
	return BuildInfo{
		Version:    C.GoString(info.version),
		Backends:   C.GoString(info.backends),
		OneDNN:     C.GoString(info.onednn),
		CUDA:       C.GoString(info.cuda),
		ISA:        C.GoString(info.isa),
		Compiler:   C.GoString(info.compiler),
		CUDAReason: C.GoString(info.cuda_reason),
	}, nil
}
