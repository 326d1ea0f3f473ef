// The handles of dsv4.h. A SafeHandle is released once, whoever disposes of it and how often, not before the last call
// that uses it has returned, and by the finalizer where nobody did.
using System;
using System.Runtime.InteropServices;
using System.Threading;

namespace Dsv4
{
    internal abstract class Dsv4Handle : SafeHandle
    {
        protected Dsv4Handle() : base(IntPtr.Zero, true)
        {
        }

        public override bool IsInvalid => handle == IntPtr.Zero;

        /// <summary>The callbacks of the model that this handle keeps alive, or null.</summary>
        internal ModelHooks Hooks;

        protected abstract void Release(ref IntPtr pointer);

        protected override bool ReleaseHandle()
        {
            Release(ref handle);
            Hooks?.Drop();
            return true;
        }
    }

    /// <summary>What C calls for a model as long as anything keeps the model alive, a session for instance.</summary>
    internal sealed class ModelHooks
    {
        private readonly GCHandle self;
        private int uses = 1;

        internal ModelHooks(OpenCallbacks callbacks)
        {
            self = GCHandle.Alloc(callbacks);
        }

        internal IntPtr User => GCHandle.ToIntPtr(self);

        internal int Uses => Volatile.Read(ref uses);

        internal ModelHooks Retain()
        {
            Interlocked.Increment(ref uses);
            return this;
        }

        internal void Drop()
        {
            if (Interlocked.Decrement(ref uses) == 0) self.Free();
        }
    }

    internal sealed class ModelHandle : Dsv4Handle
    {
        protected override void Release(ref IntPtr pointer) => Native.dsv4_model_release(ref pointer);
    }

    internal sealed class SessionHandle : Dsv4Handle
    {
        protected override void Release(ref IntPtr pointer) => Native.dsv4_session_release(ref pointer);
    }

    internal sealed class ConversationHandle : Dsv4Handle
    {
        protected override void Release(ref IntPtr pointer) => Native.dsv4_conversation_release(ref pointer);
    }

    internal sealed class ParserHandle : Dsv4Handle
    {
        internal GCHandle User; // the callback's, which C keeps as long as the parser

        protected override void Release(ref IntPtr pointer)
        {
            Native.dsv4_parser_release(ref pointer);
            if (User.IsAllocated) User.Free();
        }
    }
}
