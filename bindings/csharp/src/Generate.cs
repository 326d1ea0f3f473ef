using System;
using System.Threading;

namespace Dsv4
{
    public sealed partial class Session
    {
        /// <summary>Evaluates what is waiting and generates until the turn ends. Blocks; events come on this thread,
        /// last of all <see cref="EventType.Done"/>.
        /// <para>The token ends the turn within one token with an <see cref="OperationCanceledException"/>,
        /// <see cref="Cancel"/> with <see cref="Status.Cancelled"/>; both keep what was generated. The answer
        /// <see cref="EventAction.Cancel"/> takes the turn back, with the same status, and so does an exception of the
        /// callback, which goes on from here. After any other error the timeline is as it was before the call.</para>
        /// <para>What the model said joins the conversation with its exact tokens. After
        /// <see cref="DoneReason.ToolCalls"/> append the results and generate again.</para></summary>
        public GenerateStats Generate(GenerateOptions options = null, Func<Event, EventAction> onEvent = null,
            CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var callbacks = new TurnCallbacks
            {
                Logits = options?.Logits,
                OnEvent = e => onEvent?.Invoke(e) ?? EventAction.Continue
            };
            using (var memory = new NativeMemory())
            using (var user = new UserData(callbacks))
            using (var cancellation = new Cancellation(this, cancellationToken))
            {
                dsv4_generate_options native = GenerateOptions.ToNative(options, memory);
                if (callbacks.Logits != null)
                {
                    native.logits = Callbacks.Logits;
                    native.logits_user = user.User;
                }
                var stats = new dsv4_generate_stats { struct_size = Interop.SizeOf<dsv4_generate_stats>() };
                int status = Native.dsv4_session_generate(Handle, ref native, Callbacks.Event, user.User, ref stats,
                    out IntPtr error);
                cancellation.Dispose();
                Errors.Finish(callbacks, status, error, cancellationToken);
                return new GenerateStats(stats);
            }
        }

        /// <summary>Begins a turn, see Generate, and returns at once. Its events are fetched from the stream, in one of
        /// three ways: foreach, await foreach, or <see cref="EventStream.Poll"/> in a main loop. The session is busy
        /// until the stream has ended or was disposed of.</summary>
        public EventStream Stream(GenerateOptions options = null, CancellationToken cancellationToken = default)
        {
            cancellationToken.ThrowIfCancellationRequested();
            if (options?.Logits != null)
                throw new NotSupportedException("GenerateOptions.Logits would run on another thread: use Generate");
            using (var memory = new NativeMemory())
            {
                dsv4_generate_options native = GenerateOptions.ToNative(options, memory);
                Errors.Check(Native.dsv4_session_start(Handle, ref native, out IntPtr error), error);
            }
            return new EventStream(this, cancellationToken);
        }
    }

    /// <summary>Cancels a session's call when a token says so, until it is disposed of. A cancel that comes before the
    /// call has really begun does nothing, so it is repeated; behind the call it must not come, so it is made under a
    /// lock.</summary>
    internal sealed class Cancellation : IDisposable
    {
        private readonly object gate = new object();
        private readonly Session session;
        private CancellationTokenRegistration registration;
        private Timer again;
        private bool ended;

        internal Cancellation(Session session, CancellationToken token)
        {
            this.session = session;
            if (token.CanBeCanceled) registration = token.Register(Begin);
        }

        private void Begin()
        {
            lock (gate)
            {
                if (ended) return;
                session.Cancel();
                again = new Timer(_ => Again(), null, 1, 1);
            }
        }

        private void Again()
        {
            lock (gate)
            {
                if (!ended) session.Cancel();
            }
        }

        public void Dispose()
        {
            lock (gate)
            {
                ended = true;
                again?.Dispose();
            }
            registration.Dispose();
        }
    }
}
