// What C calls. The delegates are static, so they live as long as the process and compile ahead of time (IL2CPP);
// `user` is a GCHandle of the object that is meant. No exception crosses C: it is kept, C is told to give up, and
// Rethrow goes on with it afterwards.
using System;
using System.IO;
using System.Runtime.ExceptionServices;
using System.Runtime.InteropServices;
using System.Threading;

namespace Dsv4
{
    /// <summary>Unity's IL2CPP looks for an attribute of this name on whatever C calls.</summary>
    [AttributeUsage(AttributeTargets.Method)]
    internal sealed class MonoPInvokeCallbackAttribute : Attribute
    {
        internal MonoPInvokeCallbackAttribute(Type type)
        {
            Type = type;
        }

        public Type Type { get; }
    }

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate void LogFunction(IntPtr user, int level, IntPtr text);
    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate int ProgressFunction(IntPtr user, ulong done, ulong total);
    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate int EventFunction(IntPtr user, IntPtr nativeEvent);
    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate int LogitsFunction(IntPtr user, IntPtr logits, UIntPtr vocab);
    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate int WriteFunction(IntPtr user, IntPtr data, UIntPtr size);
    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate long ReadFunction(IntPtr user, IntPtr data, UIntPtr size);

    internal static class Callbacks
    {
        private static readonly LogFunction LogDelegate = OnLog;
        private static readonly ProgressFunction ProgressDelegate = OnProgress;
        private static readonly EventFunction EventDelegate = OnEvent;
        private static readonly LogitsFunction LogitsDelegate = OnLogits;
        private static readonly WriteFunction WriteDelegate = OnWrite;
        private static readonly ReadFunction ReadDelegate = OnRead;

        internal static readonly IntPtr Log = Marshal.GetFunctionPointerForDelegate(LogDelegate);
        internal static readonly IntPtr Progress = Marshal.GetFunctionPointerForDelegate(ProgressDelegate);
        internal static readonly IntPtr Event = Marshal.GetFunctionPointerForDelegate(EventDelegate);
        internal static readonly IntPtr Logits = Marshal.GetFunctionPointerForDelegate(LogitsDelegate);
        internal static readonly IntPtr Write = Marshal.GetFunctionPointerForDelegate(WriteDelegate);
        internal static readonly IntPtr Read = Marshal.GetFunctionPointerForDelegate(ReadDelegate);

        private static T Target<T>(IntPtr user) => (T)GCHandle.FromIntPtr(user).Target;

        [MonoPInvokeCallback(typeof(LogFunction))]
        private static void OnLog(IntPtr user, int level, IntPtr text)
        {
            var own = Target<OpenCallbacks>(user);
            own.Run(0, () =>
            {
                own.Log?.Invoke((LogLevel)level, Utf8.Decode(text));
                return 0;
            });
        }

        [MonoPInvokeCallback(typeof(ProgressFunction))]
        private static int OnProgress(IntPtr user, ulong done, ulong total)
        {
            var own = Target<ProgressCallbacks>(user);
            return (int)own.Run(1, () => Interop.Flag(!own.GoesOn(done, total)));
        }

        [MonoPInvokeCallback(typeof(EventFunction))]
        private static int OnEvent(IntPtr user, IntPtr nativeEvent)
        {
            var own = Target<TurnCallbacks>(user);
            const long cancel = (long)EventAction.Cancel; // a turn whose callback throws is taken back
            return (int)own.Run(cancel, () => (long)own.OnEvent(Dsv4.Event.Read(nativeEvent)));
        }

        [MonoPInvokeCallback(typeof(LogitsFunction))]
        private static int OnLogits(IntPtr user, IntPtr logits, UIntPtr vocab)
        {
            var own = Target<TurnCallbacks>(user);
            return (int)own.Run(1, () => Interop.Flag(!own.EditLogits(logits, (int)vocab.ToUInt64())));
        }

        [MonoPInvokeCallback(typeof(WriteFunction))]
        private static int OnWrite(IntPtr user, IntPtr data, UIntPtr size)
        {
            var own = Target<StreamCallbacks>(user);
            return (int)own.Run(1, () => own.Write(data, size.ToUInt64()));
        }

        [MonoPInvokeCallback(typeof(ReadFunction))]
        private static long OnRead(IntPtr user, IntPtr data, UIntPtr size)
        {
            var own = Target<StreamCallbacks>(user);
            return own.Run(-1, () => own.Read(data, size.ToUInt64()));
        }
    }

    /// <summary>An object that C calls back, and what was thrown in it.</summary>
    internal abstract class CallbackTarget
    {
        private ExceptionDispatchInfo thrown;

        internal long Run(long whenThrown, Func<long> callback)
        {
            if (thrown != null) return whenThrown; // nothing runs after what was thrown
            try
            {
                return callback();
            }
            catch (Exception e)
            {
                thrown = ExceptionDispatchInfo.Capture(e);
                return whenThrown;
            }
        }

        /// <summary>Goes on with the callback's exception, once C has been left.</summary>
        internal void Rethrow()
        {
            ExceptionDispatchInfo own = thrown;
            thrown = null;
            own?.Throw();
        }
    }

    internal class ProgressCallbacks : CallbackTarget
    {
        internal Func<ulong, ulong, bool> Progress;
        internal CancellationToken Token;

        internal bool GoesOn(ulong done, ulong total) =>
            !Token.IsCancellationRequested && (Progress == null || Progress(done, total)) && !Token.IsCancellationRequested;
    }

    internal sealed class OpenCallbacks : ProgressCallbacks
    {
        internal Action<LogLevel, string> Log;
    }

    internal sealed class TurnCallbacks : CallbackTarget
    {
        internal Func<Event, EventAction> OnEvent;
        internal Func<float[], bool> Logits;
        private float[] buffer;

        internal bool EditLogits(IntPtr logits, int vocab)
        {
            if (buffer == null || buffer.Length != vocab) buffer = new float[vocab];
            Marshal.Copy(logits, buffer, 0, vocab);
            bool goOn = Logits(buffer);
            Marshal.Copy(buffer, 0, logits, vocab);
            return goOn;
        }
    }

    internal sealed class StreamCallbacks : CallbackTarget
    {
        private readonly Stream stream;
        private readonly byte[] buffer = new byte[1 << 16];

        internal StreamCallbacks(Stream stream)
        {
            this.stream = stream ?? throw new ArgumentNullException(nameof(stream));
        }

        internal long Write(IntPtr data, ulong size)
        {
            while (size != 0)
            {
                int count = (int)Math.Min(size, (ulong)buffer.Length);
                Marshal.Copy(data, buffer, 0, count);
                stream.Write(buffer, 0, count);
                data = IntPtr.Add(data, count);
                size -= (ulong)count;
            }
            return 0;
        }

        internal long Read(IntPtr data, ulong size)
        {
            int count = stream.Read(buffer, 0, (int)Math.Min(size, (ulong)buffer.Length));
            Marshal.Copy(buffer, 0, data, count);
            return count;
        }
    }

    /// <summary>A callback target for the time of a call.</summary>
    internal sealed class UserData : IDisposable
    {
        private GCHandle handle;

        internal UserData(CallbackTarget target)
        {
            handle = GCHandle.Alloc(target);
        }

        internal IntPtr User => GCHandle.ToIntPtr(handle);

        public void Dispose() => handle.Free();
    }
}
