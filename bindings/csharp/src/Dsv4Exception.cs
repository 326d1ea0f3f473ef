using System;
using System.Threading;

namespace Dsv4
{
    /// <summary>What a host can do about an error.</summary>
    public enum Status
    {
        /// <summary>No error.</summary>
        Ok = 0,
        /// <summary>The call itself is wrong: correct it.</summary>
        InvalidArgument = 1,
        /// <summary>Understood, and not there: the message says what is missing.</summary>
        Unsupported = 2,
        /// <summary>A file or a name does not exist.</summary>
        NotFound = 3,
        /// <summary>The system could not read or write.</summary>
        Io = 4,
        /// <summary>A file is not what it claims to be.</summary>
        Corrupt = 5,
        /// <summary>Two things do not belong together.</summary>
        Incompatible = 6,
        /// <summary>Memory, or the model's memory limit, is exhausted.</summary>
        OutOfMemoryHost = 7,
        /// <summary>The memory of the GPU is exhausted.</summary>
        OutOfMemoryDevice = 8,
        /// <summary>Dispose of the model and open it again.</summary>
        DeviceLost = 9,
        /// <summary>Another call is using this session.</summary>
        Busy = 10,
        /// <summary>The tokens do not fit the session's context.</summary>
        ContextFull = 11,
        /// <summary>Cancelled, by you.</summary>
        Cancelled = 12,
        /// <summary>A bug of libdsv4: please report the message.</summary>
        Internal = 13
    }

    /// <summary>A call that failed. The message names the file, tensor or field, what was expected and what was found.
    /// </summary>
    public sealed class Dsv4Exception : Exception
    {
        /// <summary>What the host can do about it.</summary>
        public Status Status { get; }

        internal Dsv4Exception(Status status, string message) : base(message)
        {
            Status = status;
        }

        /// <summary>The status's name in dsv4.h: "DSV4_E_CORRUPT".</summary>
        public string StatusName => Utf8.Decode(Native.dsv4_status_name((int)Status));
    }

    internal static class Errors
    {
        /// <summary>Throws what a call has reported, and releases the native error.</summary>
        internal static void Check(int status, IntPtr error)
        {
            if (status != 0) throw Take(status, error);
        }

        /// <summary>The same of a call that <paramref name="token"/> may have ended: then it is .NET's own exception.
        /// </summary>
        internal static void Check(int status, IntPtr error, CancellationToken token)
        {
            if (status == 0) return;
            throw Cancelled(Take(status, error), token);
        }

        /// <summary>The end of a call with callbacks: what one of them has thrown goes before the library's "it gave
        /// up". </summary>
        internal static void Finish(CallbackTarget callbacks, int status, IntPtr error, CancellationToken token = default)
        {
            try
            {
                Check(status, error, token); // releases the native error in any case
            }
            finally
            {
                callbacks.Rethrow();
            }
        }

        internal static Exception Cancelled(Dsv4Exception e, CancellationToken token)
        {
            if (e.Status != Status.Cancelled || !token.IsCancellationRequested) return e;
            return new OperationCanceledException(e.Message, e, token);
        }

        private static Dsv4Exception Take(int status, IntPtr error)
        {
            string message = Utf8.Decode(Native.dsv4_error_message(error));
            Native.dsv4_error_release(ref error);
            return new Dsv4Exception((Status)status, message);
        }
    }
}
