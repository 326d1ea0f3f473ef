using System;

namespace Dsv4
{
    /// <summary>The library that is running: its version, and what it can use here.</summary>
    public static class Library
    {
        /// <summary>major * 1000000 + minor * 1000 + patch.</summary>
        public static long Version => Native.dsv4_version();

        /// <summary>What the library was built with. The first call looks for a GPU, which can take a second.</summary>
        public static BuildInfo GetBuildInfo()
        {
            var info = new dsv4_build_info { struct_size = Interop.SizeOf<dsv4_build_info>() };
            Errors.Check(Native.dsv4_build_info_get(ref info, out IntPtr error), error);
            return new BuildInfo(info);
        }
    }

    /// <summary>What the library that is running was built with, and what it can use here.</summary>
    public sealed class BuildInfo
    {
        internal BuildInfo(dsv4_build_info info)
        {
            Version = Utf8.Decode(info.version);
            Backends = Utf8.Decode(info.backends);
            OneDnn = Utf8.Decode(info.onednn);
            Cuda = Utf8.Decode(info.cuda);
            Isa = Utf8.Decode(info.isa);
            Compiler = Utf8.Decode(info.compiler);
            CudaReason = Utf8.Decode(info.cuda_reason);
        }

        /// <summary>"0.1.0".</summary>
        public string Version { get; }
        /// <summary>That can be used here, best first: "cuda cpu reference".</summary>
        public string Backends { get; }
        /// <summary>Version, or "" without.</summary>
        public string OneDnn { get; }
        /// <summary>Version of the toolkit, or "" where the cuda backend cannot be used.</summary>
        public string Cuda { get; }
        /// <summary>Instruction sets that the cpu backend can use here, best first.</summary>
        public string Isa { get; }
        /// <summary>The C++ compiler.</summary>
        public string Compiler { get; }
        /// <summary>Why the cuda backend cannot be used here; "" where it can.</summary>
        public string CudaReason { get; }
    }
}
