using System;
using System.Collections;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;

namespace Dsv4
{
    /// <summary>A turn whose events are fetched, once, in one of three ways:
    /// <code>
    /// foreach (Event e in session.Stream(options)) ...         // waits on this thread
    /// await foreach (Event e in session.Stream(options)) ...   // C# 8; waits on the thread pool
    /// stream.Poll(8, 0, e => ...);                             // in a main loop: never waits
    /// </code>
    /// Events that nobody fetches stop the generation after some dozens of them. Disposing of it ends a turn that has
    /// not ended, as Session.Cancel does, and gives the session free; both kinds of foreach do so by
    /// themselves.</summary>
#if NETSTANDARD2_1_OR_GREATER || NETCOREAPP3_0_OR_GREATER || DSV4_ASYNC_ENUMERABLE
    public sealed partial class EventStream : IAsyncEnumerable<Event>
    {
        IAsyncEnumerator<Event> IAsyncEnumerable<Event>.GetAsyncEnumerator(CancellationToken cancellationToken) =>
            GetAsyncEnumerator(cancellationToken);

        public sealed partial class AsyncEnumerator : IAsyncEnumerator<Event>
        {
            ValueTask<bool> IAsyncEnumerator<Event>.MoveNextAsync() => new ValueTask<bool>(MoveNextAsync());

            ValueTask IAsyncDisposable.DisposeAsync() => new ValueTask(DisposeAsync());
        }
    }
#endif

    public sealed partial class EventStream : IEnumerable<Event>, IDisposable
    {
        private const int Slice = 100; // milliseconds of waiting after which a wait begins again

        private readonly Session session;
        private readonly CancellationToken token;
        private readonly CancellationTokenRegistration registration;
        private Event current;

        internal EventStream(Session session, CancellationToken token)
        {
            this.session = session;
            this.token = token;
            // Once is enough: the session listens from now on until the last event is fetched.
            if (token.CanBeCanceled) registration = token.Register(session.Cancel);
        }

        /// <summary>The last event was fetched.</summary>
        public bool Ended { get; private set; }

        /// <summary>The turn's statistics, once its last event was fetched; null before.</summary>
        public GenerateStats Stats { get; private set; }

        /// <summary>Fetches up to so many events, on this thread, and waits for the first of them no longer than the
        /// timeout. What the callback answers takes effect at the next event that is generated, some dozens later at
        /// most.</summary>
        /// <returns>How many. <see cref="Ended"/> tells when there are no more; a turn that was cancelled says so in
        /// its last event.</returns>
        public int Poll(int maxEvents, int timeoutMilliseconds, Func<Event, EventAction> onEvent)
        {
            if (maxEvents < 0) throw new ArgumentOutOfRangeException(nameof(maxEvents));
            if (timeoutMilliseconds < 0) throw new ArgumentOutOfRangeException(nameof(timeoutMilliseconds));
            if (Ended) return 0;
            var callbacks = new TurnCallbacks
            {
                OnEvent = e =>
                {
                    if (e.Type == EventType.Done) Stats = e.Stats;
                    return onEvent?.Invoke(e) ?? EventAction.Continue;
                }
            };
            if (session.Handle.IsClosed) End(); // with the session; the call below says so
            using (var user = new UserData(callbacks))
            {
                int status = Native.dsv4_session_poll(session.Handle, Callbacks.Event, user.User,
                    (UIntPtr)(uint)maxEvents, (uint)timeoutMilliseconds, out UIntPtr delivered, out IntPtr error);
                if (status != 0 || Stats != null) End();
                Errors.Finish(callbacks, status, error, token);
                return (int)delivered.ToUInt64();
            }
        }

        private void End()
        {
            Ended = true;
            registration.Dispose();
        }

        /// <summary>Ends a turn that has not ended, and gives the session free.</summary>
        public void Dispose()
        {
            while (!Ended)
            {
                session.Cancel();
                try
                {
                    Poll(64, Slice, null);
                }
                catch (Exception e) when (e is Dsv4Exception || e is ObjectDisposedException ||
                                          e is OperationCanceledException)
                {
                    // the turn ended with an error, or the session is gone: free, either way
                }
            }
        }

        /// <summary>Fetches the next event, waiting no longer than the timeout: null if there is none by
        /// then.</summary>
        private Event Fetch(int timeoutMilliseconds)
        {
            Event fetched = null;
            Poll(1, timeoutMilliseconds, e =>
            {
                fetched = e;
                return EventAction.Continue;
            });
            return fetched;
        }

        /// <summary>Whether there is one more event, which is then current. Behind the last event of a turn that was
        /// cancelled: the exception that says so.</summary>
        private bool Advance(bool wait)
        {
            Event next = null;
            while (!Ended && next == null)
            {
                next = Fetch(wait ? Slice : 0);
                if (!wait && next == null && !Ended) return false;
            }
            if (next != null) current = next;
            else if (Stats?.Reason == DoneReason.Cancelled)
                throw Errors.Cancelled(new Dsv4Exception(Status.Cancelled, "the turn was cancelled"), token);
            return next != null;
        }

        /// <summary>Waits on this thread. The turn's events are there once: a second loop goes on where the first left.
        /// </summary>
        public IEnumerator<Event> GetEnumerator()
        {
            try
            {
                while (Advance(true)) yield return current;
            }
            finally
            {
                Dispose();
            }
        }

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

        /// <summary>For await foreach, which asks for no interface, only for these methods.</summary>
        /// <param name="cancellationToken">Ends the turn as the one of <see cref="Session.Stream"/> does.</param>
        public AsyncEnumerator GetAsyncEnumerator(CancellationToken cancellationToken = default) =>
            new AsyncEnumerator(this, cancellationToken);

        /// <summary>An asynchronous enumerator; with IAsyncEnumerator where the target has it.</summary>
        public sealed partial class AsyncEnumerator
        {
            private readonly EventStream stream;
            private readonly CancellationToken token;
            private readonly CancellationTokenRegistration registration;

            internal AsyncEnumerator(EventStream stream, CancellationToken token)
            {
                this.stream = stream;
                this.token = token;
                if (token.CanBeCanceled) registration = token.Register(stream.CancelUnlessEnded);
            }

            /// <summary>The event that MoveNextAsync has fetched.</summary>
            public Event Current => stream.current;

            /// <summary>Fetches the next event: at once if it is there, else on a thread of the pool.</summary>
            public Task<bool> MoveNextAsync()
            {
                try
                {
                    if (stream.Advance(false)) return Task.FromResult(true);
                    if (stream.Ended) return Task.FromResult(false);
                }
                catch (Exception e)
                {
                    return Task.FromException<bool>(Own(e));
                }
                return Task.Run(() =>
                {
                    try
                    {
                        return stream.Advance(true);
                    }
                    catch (Exception e) when (Own(e) != e)
                    {
                        throw Own(e);
                    }
                });
            }

            private Exception Own(Exception e) => e is Dsv4Exception own ? Errors.Cancelled(own, token) : e;

            /// <summary>Ends the turn, as Dispose does, on a thread of the pool.</summary>
            public Task DisposeAsync()
            {
                registration.Dispose();
                if (!stream.Ended) return Task.Run(() => stream.Dispose());
                return Task.CompletedTask;
            }
        }

        private void CancelUnlessEnded()
        {
            if (!Ended) session.Cancel();
        }
    }
}
