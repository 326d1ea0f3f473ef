using System;
using System.Collections.Generic;
using System.Text;
using System.Threading;

namespace Dsv4
{
    /// <summary>An open checkpoint. It may be used from any threads at once; sessions keep what they need of
    /// it.</summary>
    public sealed class Model : IDisposable
    {
        internal ModelHandle Handle { get; }

        private Model(ModelHandle handle)
        {
            Handle = handle;
        }

        /// <summary>Opens a checkpoint folder in the published layout. Weights are mapped, not read: this takes time in
        /// the number of tensors, not in bytes. The files must not change while it is open.</summary>
        public static Model Open(string folder, ModelOptions options = null,
            CancellationToken cancellationToken = default)
        {
            byte[] path = Utf8.EncodeTerminated(folder, nameof(folder));
            return Open(options, cancellationToken, (ref dsv4_model_options native, out ModelHandle model, out IntPtr error) =>
                Native.dsv4_model_open(path, ref native, out model, out error));
        }

        /// <summary>A model of a published shape ("flash", "pro") with so many layers (0: all) and random weights,
        /// without a tokenizer: for benchmarks and capacity planning. About 3.4 GB a layer for flash.</summary>
        public static Model OpenSynthetic(string shape, int layers, ulong seed, ModelOptions options = null,
            CancellationToken cancellationToken = default)
        {
            byte[] name = Utf8.EncodeTerminated(shape, nameof(shape));
            return Open(options, cancellationToken, (ref dsv4_model_options native, out ModelHandle model, out IntPtr error) =>
                Native.dsv4_model_open_synthetic(name, layers, seed, ref native, out model, out error));
        }

        private delegate int Opener(ref dsv4_model_options options, out ModelHandle model, out IntPtr error);

        private static Model Open(ModelOptions options, CancellationToken token, Opener open)
        {
            token.ThrowIfCancellationRequested();
            var callbacks = new OpenCallbacks { Log = options?.Log, Progress = options?.Progress, Token = token };
            using (var memory = new NativeMemory())
            {
                dsv4_model_options native = ModelOptions.ToNative(options, memory);
                var hooks = new ModelHooks(callbacks);
                native.log = Callbacks.Log;
                native.progress = Callbacks.Progress;
                native.log_user = native.progress_user = hooks.User;
                ModelHandle model = null;
                try
                {
                    int status = open(ref native, out model, out IntPtr error);
                    if (status == 0) model.Hooks = hooks.Retain();
                    Errors.Finish(callbacks, status, error, token);
                    return new Model(model);
                }
                catch
                {
                    model?.Dispose();
                    throw;
                }
                finally
                {
                    hooks.Drop();
                }
            }
        }

        /// <summary>Another Model for the same open checkpoint, to be disposed of by itself.</summary>
        public Model Retain()
        {
            ModelHandle other = Native.dsv4_model_retain(Handle);
            other.Hooks = Handle.Hooks.Retain();
            return new Model(other);
        }

        /// <summary>Releases the model, when the last call that uses it has returned.</summary>
        public void Dispose() => Handle.Dispose();

        /// <summary>What opening a checkpoint and one session would take, from config.json alone.</summary>
        /// <param name="context">0: the model's limit.</param>
        public static Estimate EstimateMemory(string folder, ModelOptions options = null, ulong context = 0)
        {
            using (var memory = new NativeMemory())
            {
                dsv4_model_options native = ModelOptions.ToNative(options, memory);
                var estimate = new dsv4_estimate { struct_size = Interop.SizeOf<dsv4_estimate>() };
                Errors.Check(Native.dsv4_model_estimate(Utf8.EncodeTerminated(folder, nameof(folder)), ref native, context,
                    ref estimate, out IntPtr error), error);
                return new Estimate(estimate);
            }
        }

        /// <summary>Describes the model.</summary>
        public ModelInfo GetInfo()
        {
            bool added = false;
            try
            {
                Handle.DangerousAddRef(ref added); // the strings are the model's
                var info = new dsv4_model_info { struct_size = Interop.SizeOf<dsv4_model_info>() };
                Errors.Check(Native.dsv4_model_info_get(Handle, ref info, out IntPtr error), error);
                return new ModelInfo(info);
            }
            finally
            {
                if (added) Handle.DangerousRelease();
            }
        }

        /// <summary>Describes a layer, below <see cref="ModelInfo.Layers"/> (one more with a draft head).</summary>
        /// <param name="context">0: the model's limit.</param>
        public LayerInfo GetLayer(long index, ulong context = 0)
        {
            var info = new dsv4_layer_info { struct_size = Interop.SizeOf<dsv4_layer_info>() };
            Errors.Check(Native.dsv4_model_layer_info(Handle, index, context, ref info, out IntPtr error), error);
            return new LayerInfo(info);
        }

        /// <summary>The verbs in the order in which they were first called, of a model opened with
        /// <see cref="OpenFlags.TimeVerbs"/>.</summary>
        public IReadOnlyList<VerbTime> GetVerbTimes()
        {
            var times = new List<VerbTime>();
            for (;;)
            {
                var time = new dsv4_verb_time { struct_size = Interop.SizeOf<dsv4_verb_time>() };
                try
                {
                    Errors.Check(Native.dsv4_model_verb_time(Handle, (UIntPtr)(uint)times.Count, ref time,
                        out IntPtr error), error);
                }
                catch (Dsv4Exception e) when (e.Status == Status.NotFound) // behind the last
                {
                    return times;
                }
                times.Add(new VerbTime(time));
            }
        }

        /// <summary>Begins again at nothing.</summary>
        public void ClearVerbTimes() => Errors.Check(Native.dsv4_model_verb_times_clear(Handle, out IntPtr error), error);

        /// <summary>Multiply-adds a second that a matrix product in caches reaches on this machine now: the ceiling of
        /// prefill. Takes a fraction of a second, in which no session of the model makes a step.</summary>
        public double MeasureMatrixPeak()
        {
            Errors.Check(Native.dsv4_model_matrix_peak(Handle, out double peak, out IntPtr error), error);
            return peak;
        }

        /// <summary>Bytes a second, read and written together, at which the backend's device copies its own memory now:
        /// the ceiling of decoding. <see cref="Status.Unsupported"/> where that memory is the host's.</summary>
        public double MeasureCopyPeak()
        {
            Errors.Check(Native.dsv4_model_copy_peak(Handle, out double peak, out IntPtr error), error);
            return peak;
        }

        /// <summary>An empty session.</summary>
        public Session CreateSession(SessionOptions options = null) => Session.Create(this, options);

        private const uint Special = 1;

        /// <summary>Token ids of a text.</summary>
        /// <param name="special">The text may become control tokens, such as &lt;｜User｜&gt;. Never for a stranger's
        /// text. </param>
        public int[] Tokenize(string text, bool special = false)
        {
            byte[] bytes = Utf8.Encode(text);
            return Interop.Fetch((int[] ids, UIntPtr capacity, out UIntPtr count, out IntPtr error) => Native.dsv4_tokenize(
                Handle, bytes, Interop.Length(bytes), special ? Special : 0, ids, capacity, out count, out error));
        }

        /// <summary>The bytes of token ids: a token can end inside a UTF-8 character.</summary>
        /// <param name="special">Control tokens are written out instead of left out.</param>
        public byte[] DetokenizeBytes(int[] ids, bool special = false)
        {
            if (ids == null) throw new ArgumentNullException(nameof(ids));
            return Interop.Fetch((byte[] text, UIntPtr capacity, out UIntPtr count, out IntPtr error) =>
                Native.dsv4_detokenize(Handle, ids, Interop.Length(ids), special ? Special : 0, text, capacity, out count,
                    out error));
        }

        /// <summary>The text of token ids; half a character at its ends becomes U+FFFD.</summary>
        /// <param name="special">Control tokens are written out instead of left out.</param>
        public string Detokenize(int[] ids, bool special = false) =>
            Encoding.UTF8.GetString(DetokenizeBytes(ids, special));

        /// <summary>The prompt's exact text.</summary>
        /// <param name="reasoning">Default: what the conversation's JSON said, else the profile's default.</param>
        /// <param name="profile">Auto: the model's.</param>
        public string Render(Conversation conversation, Reasoning reasoning = Reasoning.Default,
            Profile profile = Profile.Auto)
        {
            dsv4_render_options options = RenderOptions(reasoning, profile);
            return Interop.FetchText((byte[] text, UIntPtr capacity, out UIntPtr count, out IntPtr error) =>
                Native.dsv4_render(Handle, conversation.Handle, ref options, text, capacity, out count, out error));
        }

        /// <summary>The prompt's token ids. Text of the messages never becomes a control token.</summary>
        public int[] RenderTokens(Conversation conversation, Reasoning reasoning = Reasoning.Default,
            Profile profile = Profile.Auto)
        {
            dsv4_render_options options = RenderOptions(reasoning, profile);
            return Interop.Fetch((int[] ids, UIntPtr capacity, out UIntPtr count, out IntPtr error) =>
                Native.dsv4_render_tokens(Handle, conversation.Handle, ref options, ids, capacity, out count, out error));
        }

        private static dsv4_render_options RenderOptions(Reasoning reasoning, Profile profile)
        {
            Native.dsv4_render_options_init(out dsv4_render_options options, Interop.SizeOf<dsv4_render_options>());
            options.reasoning = (int)reasoning;
            options.profile = (int)profile;
            return options;
        }
    }
}
