package dsv4

/*
#include "dsv4_go_calls.h"
*/
import "C"

import (
	"context"
	"errors"
	"runtime"
	"unsafe"
)

// Profile says which prompt rules a checkpoint was trained with.
type Profile int32

const (
	ProfileAuto    Profile = C.DSV4_PROFILE_AUTO    // found from config.json; reported in ModelInfo
	ProfilePreview Profile = C.DSV4_PROFILE_PREVIEW // V4-Flash, V4-Pro (April preview)
	Profile0731    Profile = C.DSV4_PROFILE_0731    // V4-Flash-0731, V4-Pro-0813
)

// LogLevel is how much a line of the log matters.
type LogLevel int32

const (
	LogDebug   LogLevel = C.DSV4_LOG_DEBUG
	LogInfo    LogLevel = C.DSV4_LOG_INFO
	LogWarning LogLevel = C.DSV4_LOG_WARNING
	LogError   LogLevel = C.DSV4_LOG_ERROR
)

// Reasoning is how much the model thinks before it answers. A mode that the profile lacks is ErrUnsupported.
type Reasoning int32

const (
	ReasoningDefault Reasoning = C.DSV4_REASONING_DEFAULT // the profile's: none for preview, high for 0731
	ReasoningNone    Reasoning = C.DSV4_REASONING_NONE
	ReasoningLow     Reasoning = C.DSV4_REASONING_LOW
	ReasoningHigh    Reasoning = C.DSV4_REASONING_HIGH
	ReasoningMax     Reasoning = C.DSV4_REASONING_MAX
)

// ModelOptions say how a model is opened. The zero value, and nil, are the defaults.
type ModelOptions struct {
	Backend           string // "" or "auto": cuda where there is a GPU that holds the model, else cpu; "cuda", "cpu", "reference"
	ISA               string // cpu backend: "" for the best, or one of BuildInfo.ISA
	Threads           int32  // cpu backend: 0 for all usable cores
	Profile           Profile
	TextOnly          bool   // open the language part of a vision checkpoint
	Verify            bool   // check every scale byte and table entry now, which reads part of every shard
	TimeVerbs         bool   // measure what every verb of the backend costs: Model.VerbTimes
	MaxStepRows       int32  // tokens evaluated at once in prefill, at most; 0: 512
	HostMemoryLimit   uint64 // bytes for this model's sessions together; 0: no limit
	DeviceMemoryLimit uint64 // cuda backend: bytes of GPU memory for everything together; 0: no limit
	Device            int32  // cuda backend: which GPU, as the CUDA runtime counts

	// Log receives what the library has to say, on the goroutine that made the call.
	Log func(level LogLevel, text string)
	// Progress hears how far opening has come: tensors looked at; then, with a GPU, bytes moved there. Its error gives
	// up, and is the cause of Open's.
	Progress func(done, total uint64) error
}

// native writes the options for C, but for the callbacks. nil is the default.
func (o *ModelOptions) native(a *arena) *C.dsv4_model_options {
	out := (*C.dsv4_model_options)(a.alloc(C.sizeof_dsv4_model_options))
	C.dsv4_model_options_init(out, C.sizeof_dsv4_model_options)
	if o == nil {
		return out
	}
	out.backend = a.optional("Backend", o.Backend)
	out.isa = a.optional("ISA", o.ISA)
	out.threads = C.int32_t(o.Threads)
	out.profile = C.int32_t(o.Profile)
	for bit, set := range map[C.uint32_t]bool{
		C.DSV4_OPEN_TEXT_ONLY:  o.TextOnly,
		C.DSV4_OPEN_VERIFY:     o.Verify,
		C.DSV4_OPEN_TIME_VERBS: o.TimeVerbs,
	} {
		if set {
			out.flags |= bit
		}
	}
	out.max_step_rows = C.int32_t(o.MaxStepRows)
	out.host_memory_limit = C.uint64_t(o.HostMemoryLimit)
	out.device_memory_limit = C.uint64_t(o.DeviceMemoryLimit)
	out.device = C.int32_t(o.Device)
	return out
}

// Model is an open checkpoint. It may be used from any goroutines at once.
type Model struct {
	guarded
	hooks *hooks
}

// Open opens a checkpoint folder in the published layout. Weights are mapped, not read: this takes time in the number
// of tensors, not in bytes. The files must not change while it is open.
func Open(ctx context.Context, folder string, options *ModelOptions) (*Model, error) {
	return open(ctx, options, func(a *arena, native *C.dsv4_model_options, user C.uintptr_t, model **C.dsv4_model,
		cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4go_open(a.str("folder", folder), native, user, model, cerr)
	})
}

// OpenSynthetic makes a model of a published shape ("flash", "pro") with so many layers (0: all) and random weights,
// without a tokenizer: for benchmarks and capacity planning. About 3.4 GB a layer for flash.
func OpenSynthetic(ctx context.Context, shape string, layers int32, seed uint64, options *ModelOptions) (*Model, error) {
	return open(ctx, options, func(a *arena, native *C.dsv4_model_options, user C.uintptr_t, model **C.dsv4_model,
		cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4go_open_synthetic(a.str("shape", shape), C.int32_t(layers), C.uint64_t(seed), native, user, model, cerr)
	})
}

type opener func(*arena, *C.dsv4_model_options, C.uintptr_t, **C.dsv4_model, **C.dsv4_error) C.dsv4_status

func open(ctx context.Context, options *ModelOptions, call opener) (*Model, error) {
	if err := endedBefore(ctx); err != nil {
		return nil, err
	}
	var a arena
	defer a.free()
	native := options.native(&a)
	hooks := newHooks(ctx, options)
	var model *C.dsv4_model
	var cerr *C.dsv4_error
	err := check(call(&a, native, C.uintptr_t(hooks.handle), &model, &cerr), cerr)
	if a.err != nil {
		err = a.err
	}
	if hooks.panicked || err != nil {
		C.dsv4_model_release(&model)
		hooks.drop()
		hooks.rethrow()
		return nil, because(err, ErrCancelled, hooks.cause())
	}
	return newModel(model, hooks), nil
}

func newModel(model *C.dsv4_model, hooks *hooks) *Model {
	m := &Model{hooks: hooks}
	m.ptr = unsafe.Pointer(model)
	m.release = func(ptr unsafe.Pointer) {
		model := (*C.dsv4_model)(ptr)
		C.dsv4_model_release(&model)
		hooks.drop()
	}
	runtime.SetFinalizer(m, (*Model).Close)
	return m
}

// Close releases the model; its sessions keep what they need of it. It returns nil, always.
func (m *Model) Close() error {
	m.close()
	runtime.SetFinalizer(m, nil)
	return nil
}

// Retain is another Model for the same open checkpoint, to be closed by itself.
func (m *Model) Retain() (*Model, error) {
	ptr, err := m.enter()
	if err != nil {
		return nil, err
	}
	defer m.leave()
	return newModel(C.dsv4_model_retain((*C.dsv4_model)(ptr)), m.hooks.retain()), nil
}

// use runs a call on the C model.
func (m *Model) use(call func(model *C.dsv4_model, cerr **C.dsv4_error) C.dsv4_status) error {
	ptr, err := m.enter()
	if err != nil {
		return err
	}
	defer m.leave()
	var cerr *C.dsv4_error
	return check(call((*C.dsv4_model)(ptr), &cerr), cerr)
}

// Estimate is what opening a checkpoint and one session would take.
type Estimate struct {
	WeightBytes          uint64 // of the tensors that config.json calls for
	StateBytes           uint64 // of one session of the given context
	WorkspaceBytes       uint64 // of the model's own working memory
	AvailableHostBytes   uint64 // free on this machine now, 0 where the system does not say
	AvailableDeviceBytes uint64 // free on the GPU that the options name, 0 for other backends
	Fits                 bool   // state and workspace fit beside the mapped weights; with cuda, all three in the GPU
}

// EstimateMemory says, from config.json alone, what a model and one session take. context 0: the model's limit.
func EstimateMemory(folder string, options *ModelOptions, context uint64) (Estimate, error) {
	var a arena
	defer a.free()
	native, cfolder := options.native(&a), a.str("folder", folder)
	if a.err != nil {
		return Estimate{}, a.err
	}
	e := C.dsv4_estimate{struct_size: C.sizeof_dsv4_estimate}
	var cerr *C.dsv4_error
	if err := check(C.dsv4_model_estimate(cfolder, native, C.uint64_t(context), &e, &cerr), cerr); err != nil {
		return Estimate{}, err
	}
	return Estimate{
		WeightBytes:          uint64(e.weight_bytes),
		StateBytes:           uint64(e.state_bytes),
		WorkspaceBytes:       uint64(e.workspace_bytes),
		AvailableHostBytes:   uint64(e.available_host_bytes),
		AvailableDeviceBytes: uint64(e.available_device_bytes),
		Fits:                 e.fits == 1,
	}, nil
}

// ModelInfo describes an open model.
type ModelInfo struct {
	Fingerprint      uint64 // of config and tensor headers
	WeightBytes      uint64 // mapped tensors in use
	TokenWeightBytes uint64 // read to decode one token
	MaxContext       uint64
	Vocab            int64
	Hidden           int64
	Layers           int64
	Heads            int64
	HeadDim          int64
	Experts          int64
	ExpertsPerToken  int64
	Window           int64
	IndexTopK        int64
	DraftHead        bool // an MTP head is loaded
	HasTokenizer     bool
	Profile          Profile // in force
	ProfileFound     bool    // recognised from config.json; else assumed, or set by the host
	DefaultReasoning Reasoning
	BOSToken         int32
	EOSToken         int32
	Backend          string // "cpu: avx512-bf16, 2 threads, oneDNN 3.2"
	Notes            string // what was noticed on opening, one line each
	reasoningModes   uint32
}

// HasReasoning reports whether the model's profile has a mode.
func (i *ModelInfo) HasReasoning(mode Reasoning) bool { return i.reasoningModes&(1<<uint(mode)) != 0 }

// Info describes the model.
func (m *Model) Info() (ModelInfo, error) {
	ptr, err := m.enter()
	if err != nil {
		return ModelInfo{}, err
	}
	defer m.leave() // the strings are the model's
	i := C.dsv4_model_info{struct_size: C.sizeof_dsv4_model_info}
	var cerr *C.dsv4_error
	if err := check(C.dsv4_model_info_get((*C.dsv4_model)(ptr), &i, &cerr), cerr); err != nil {
		return ModelInfo{}, err
	}
	return ModelInfo{
		Fingerprint:      uint64(i.fingerprint),
		WeightBytes:      uint64(i.weight_bytes),
		TokenWeightBytes: uint64(i.token_weight_bytes),
		MaxContext:       uint64(i.max_context),
		Vocab:            int64(i.vocab),
		Hidden:           int64(i.hidden),
		Layers:           int64(i.layers),
		Heads:            int64(i.heads),
		HeadDim:          int64(i.head_dim),
		Experts:          int64(i.experts),
		ExpertsPerToken:  int64(i.experts_per_token),
		Window:           int64(i.window),
		IndexTopK:        int64(i.index_topk),
		DraftHead:        i.draft_head == 1,
		HasTokenizer:     i.has_tokenizer == 1,
		Profile:          Profile(i.profile),
		ProfileFound:     i.profile_found == 1,
		DefaultReasoning: Reasoning(i.default_reasoning),
		BOSToken:         int32(i.bos_token),
		EOSToken:         int32(i.eos_token),
		Backend:          C.GoString(i.backend),
		Notes:            C.GoString(i.notes),
		reasoningModes:   uint32(i.reasoning_modes),
	}, nil
}

// LayerInfo describes one layer.
type LayerInfo struct {
	Ratio       int32 // 0: window only, 4: CSA, 128: HCA
	HashRouted  bool  // experts by token id; else learned
	Draft       bool  // the MTP head's block
	WeightBytes uint64
	StateBytes  uint64 // for the context asked for
}

// Layer describes layer index, below ModelInfo.Layers (one more with a draft head). context 0: the model's limit.
func (m *Model) Layer(index int64, context uint64) (LayerInfo, error) {
	l := C.dsv4_layer_info{struct_size: C.sizeof_dsv4_layer_info}
	err := m.use(func(model *C.dsv4_model, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_model_layer_info(model, C.int64_t(index), C.uint64_t(context), &l, cerr)
	})
	return LayerInfo{
		Ratio:       int32(l.ratio),
		HashRouted:  l.hash_routed == 1,
		Draft:       l.draft == 1,
		WeightBytes: uint64(l.weight_bytes),
		StateBytes:  uint64(l.state_bytes),
	}, err
}

// VerbTime is what one verb of the backend, a step of the forward pass, has cost.
type VerbTime struct {
	Verb         string // "linear", "experts", "attend" ...
	Calls        uint64
	WeightBytes  uint64  // of weights and their scales that the calls had to read
	MultiplyAdds float64 // of products with these weights
	Seconds      float64
}

// VerbTimes lists the verbs in the order in which they were first called, of a model opened with TimeVerbs.
func (m *Model) VerbTimes() ([]VerbTime, error) {
	var times []VerbTime
	for {
		t := C.dsv4_verb_time{struct_size: C.sizeof_dsv4_verb_time}
		err := m.use(func(model *C.dsv4_model, cerr **C.dsv4_error) C.dsv4_status {
			return C.dsv4_model_verb_time(model, C.size_t(len(times)), &t, cerr)
		})
		if errors.Is(err, ErrNotFound) { // behind the last
			return times, nil
		}
		if err != nil {
			return nil, err
		}
		times = append(times, VerbTime{C.GoString(t.verb), uint64(t.calls), uint64(t.weight_bytes),
			float64(t.multiply_adds), float64(t.seconds)})
	}
}

// ClearVerbTimes begins again at nothing.
func (m *Model) ClearVerbTimes() error {
	return m.use(func(model *C.dsv4_model, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_model_verb_times_clear(model, cerr)
	})
}

// MatrixPeak is how many multiply-adds a second a matrix product in caches reaches on this machine now, in the number
// format of prefill: its ceiling. ErrUnsupported where the backend has no such product. It takes a fraction of a
// second, in which no session of the model makes a step.
func (m *Model) MatrixPeak() (float64, error) {
	var peak C.double
	err := m.use(func(model *C.dsv4_model, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_model_matrix_peak(model, &peak, cerr)
	})
	return float64(peak), err
}

// CopyPeak is at how many bytes a second, read and written together, the backend's device copies its own memory now:
// the ceiling of decoding. ErrUnsupported where that memory is the host's.
func (m *Model) CopyPeak() (float64, error) {
	var peak C.double
	err := m.use(func(model *C.dsv4_model, cerr **C.dsv4_error) C.dsv4_status {
		return C.dsv4_model_copy_peak(model, &peak, cerr)
	})
	return float64(peak), err
}
