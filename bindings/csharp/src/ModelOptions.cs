using System;

namespace Dsv4
{
    /// <summary>Which prompt rules a checkpoint was trained with.</summary>
    public enum Profile
    {
        /// <summary>Found from config.json; reported in <see cref="ModelInfo"/>.</summary>
        Auto = 0,
        /// <summary>V4-Flash, V4-Pro (April preview).</summary>
        Preview = 1,
        /// <summary>V4-Flash-0731, V4-Pro-0813.</summary>
        V0731 = 2
    }

    /// <summary>How much a line of the log matters.</summary>
    public enum LogLevel
    {
        /// <summary>For those who look for something.</summary>
        Debug = 0,
        /// <summary>What is being done.</summary>
        Info = 1,
        /// <summary>Something is not as one would expect.</summary>
        Warning = 2,
        /// <summary>Something went wrong.</summary>
        Error = 3
    }

    /// <summary>How a model is opened.</summary>
    [Flags]
    public enum OpenFlags
    {
        /// <summary>Nothing special.</summary>
        None = 0,
        /// <summary>Open the language part of a vision checkpoint.</summary>
        TextOnly = 1,
        /// <summary>Check every scale byte and table entry now, which reads part of every shard.</summary>
        Verify = 2,
        /// <summary>Measure what every verb of the backend costs: <see cref="Model.GetVerbTimes"/>.</summary>
        TimeVerbs = 4
    }

    /// <summary>How a model is opened. What is not set is the default.</summary>
    public sealed class ModelOptions
    {
        /// <summary>null or "auto": cuda where there is a GPU that holds the model, else cpu; "cuda", "cpu",
        /// "reference". </summary>
        public string Backend { get; set; }
        /// <summary>cpu backend: null for the best, or one of <see cref="BuildInfo.Isa"/>.</summary>
        public string Isa { get; set; }
        /// <summary>cpu backend: 0 for all usable cores.</summary>
        public int Threads { get; set; }
        /// <summary>The prompt rules.</summary>
        public Profile Profile { get; set; }
        /// <summary>See <see cref="OpenFlags"/>.</summary>
        public OpenFlags Flags { get; set; }
        /// <summary>Tokens evaluated at once in prefill, at most; 0: 512.</summary>
        public int MaxStepRows { get; set; }
        /// <summary>Bytes for this model's sessions together; 0: no limit.</summary>
        public ulong HostMemoryLimit { get; set; }
        /// <summary>cuda backend: bytes of GPU memory for everything together; 0: no limit.</summary>
        public ulong DeviceMemoryLimit { get; set; }
        /// <summary>cuda backend: which GPU, as the CUDA runtime counts.</summary>
        public int Device { get; set; }
        /// <summary>What the library has to say, on the thread that made the call.</summary>
        public Action<LogLevel, string> Log { get; set; }
        /// <summary>How far opening has come, done of total: tensors looked at; then, with a GPU, bytes moved there.
        /// false gives up.</summary>
        public Func<ulong, ulong, bool> Progress { get; set; }

        /// <summary>For C, but for the callbacks.</summary>
        internal static dsv4_model_options ToNative(ModelOptions own, NativeMemory memory)
        {
            Native.dsv4_model_options_init(out dsv4_model_options native, Interop.SizeOf<dsv4_model_options>());
            if (own == null) return native;
            native.backend = memory.Text(own.Backend, nameof(Backend));
            native.isa = memory.Text(own.Isa, nameof(Isa));
            native.threads = own.Threads;
            native.profile = (int)own.Profile;
            native.flags = (uint)own.Flags;
            native.max_step_rows = own.MaxStepRows;
            native.host_memory_limit = own.HostMemoryLimit;
            native.device_memory_limit = own.DeviceMemoryLimit;
            native.device = own.Device;
            return native;
        }
    }
}
