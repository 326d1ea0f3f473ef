using System;
using System.Runtime.InteropServices;
using System.Threading;

namespace Dsv4
{
    /// <summary>How large a session is.</summary>
    public sealed class SessionOptions
    {
        /// <summary>Tokens it can hold; 0: the smaller of the model's limit and 8192.</summary>
        public ulong Context { get; set; }
        /// <summary>Keep the MTP head in step, for the draft logits of <see cref="Session.Eval"/>.</summary>
        public bool Draft { get; set; }
        /// <summary>Tokens evaluated at once; 0: MaxStepRows of the model.</summary>
        public int PrefillChunk { get; set; }
        /// <summary>Places to which it can go back without evaluating everything again; 0: 8, -1: none.</summary>
        public int Checkpoints { get; set; }
    }

    /// <summary>How a session is driven.</summary>
    public enum Driven
    {
        /// <summary>It is empty.</summary>
        NotYet = 0,
        /// <summary>By messages.</summary>
        ByMessages = 1,
        /// <summary>By tokens.</summary>
        ByTokens = 2
    }

    /// <summary>What a session holds.</summary>
    public sealed class SessionInfo
    {
        internal SessionInfo(dsv4_session_info i)
        {
            Tokens = i.tokens;
            Evaluated = i.evaluated;
            Context = i.context;
            StateBytes = i.state_bytes;
            Checkpoints = i.checkpoints;
            CheckpointBytes = i.checkpoint_bytes;
            Interrupted = i.interrupted == 1;
            Driven = (Driven)i.driven;
        }

        /// <summary>On the timeline.</summary>
        public ulong Tokens { get; }
        /// <summary>Of them, reflected in the state.</summary>
        public ulong Evaluated { get; }
        /// <summary>Tokens it can hold.</summary>
        public ulong Context { get; }
        /// <summary>Memory of its state.</summary>
        public ulong StateBytes { get; }
        /// <summary>How many it has now.</summary>
        public ulong Checkpoints { get; }
        /// <summary>Memory of these.</summary>
        public ulong CheckpointBytes { get; }
        /// <summary>Its last turn was interrupted, and <see cref="GenerateOptions.Resume"/> can go on with
        /// it.</summary>
        public bool Interrupted { get; }
        /// <summary>By messages or by tokens.</summary>
        public Driven Driven { get; }
    }

    /// <summary>One timeline: token ids, the model's state for them, and, if used so, the conversation they came from.
    /// <para>It is driven by messages or by tokens, whichever comes first; Clear makes it empty again. It belongs to
    /// one call at a time: a second one is answered <see cref="Status.Busy"/>. Cancel and Dispose alone may be called
    /// at any time from any thread. A callback may not call into the session that it belongs to, but for
    /// Cancel.</para></summary>
    public sealed partial class Session : IDisposable
    {
        internal SessionHandle Handle { get; }
        private readonly long vocab;

        private Session(SessionHandle handle, ModelHooks hooks, long vocab)
        {
            handle.Hooks = hooks.Retain();
            Handle = handle;
            this.vocab = vocab;
        }

        internal static Session Create(Model model, SessionOptions own)
        {
            Native.dsv4_session_options_init(out dsv4_session_options options, Interop.SizeOf<dsv4_session_options>());
            if (own != null)
            {
                options.context = own.Context;
                options.flags = own.Draft ? 1u : 0;
                options.prefill_chunk = own.PrefillChunk;
                options.checkpoints = own.Checkpoints;
            }
            Errors.Check(Native.dsv4_session_create(model.Handle, ref options, out SessionHandle handle,
                out IntPtr error), error);
            return new Session(handle, model.Handle.Hooks, model.GetInfo().Vocab);
        }

        /// <summary>Cancels what is running and releases the session, when the last call that uses it has
        /// returned.</summary>
        public void Dispose()
        {
            Cancel();
            Handle.Dispose();
        }

        /// <summary>Ends the call that is running on this session within one layer of prefill or one token, at its last
        /// committed token. At any time from any thread; without such a call it does nothing.</summary>
        public void Cancel()
        {
            try
            {
                if (!Handle.IsClosed) Native.dsv4_session_cancel(Handle);
            }
            catch (ObjectDisposedException)
            {
                // disposed of between the two: there is nothing to cancel
            }
        }

        /// <summary>Adds a message to the conversation, for the next turn.</summary>
        public void AppendMessage(Role role, string text)
        {
            byte[] bytes = Utf8.Encode(text);
            Errors.Check(Native.dsv4_session_append_message(Handle, (int)role, bytes, Interop.Length(bytes),
                out IntPtr error), error);
        }

        /// <summary>Adds what a tool answered to the call with this id.</summary>
        public void AppendToolResult(string callId, string text)
        {
            byte[] bytes = Utf8.Encode(text);
            Errors.Check(Native.dsv4_session_append_tool_result(Handle, Utf8.EncodeTerminated(callId, nameof(callId)), bytes,
                Interop.Length(bytes), out IntPtr error), error);
        }

        /// <summary>Adds one message (a JSON object) or several (a list).</summary>
        public void AppendJson(string json)
        {
            byte[] bytes = Utf8.Encode(json);
            Errors.Check(Native.dsv4_session_append_json(Handle, bytes, Interop.Length(bytes), out IntPtr error), error);
        }

        /// <summary>Replaces the whole conversation; the next turn keeps whatever beginning is unchanged.</summary>
        public void SetConversation(Conversation conversation) =>
            Errors.Check(Native.dsv4_session_set_conversation(Handle, conversation.Handle, out IntPtr error), error);

        /// <summary>A copy of the conversation, the session's answers with their exact token ids.</summary>
        public Conversation GetConversation()
        {
            Errors.Check(Native.dsv4_session_conversation(Handle, out ConversationHandle handle, out IntPtr error), error);
            return new Conversation(handle);
        }

        /// <summary>Adds token ids, which wait until Generate or Eval needs them.</summary>
        public void AppendTokens(params int[] ids) =>
            Errors.Check(Native.dsv4_session_append_tokens(Handle, ids, Interop.Length(ids), out IntPtr error), error);

        /// <summary>Makes the timeline exactly these ids: what it holds already of their beginning stays, the rest
        /// waits. </summary>
        public void SyncTokens(params int[] ids) =>
            Errors.Check(Native.dsv4_session_sync_tokens(Handle, ids, Interop.Length(ids), out IntPtr error), error);

        /// <summary>Forgets all tokens from a position on, exactly, however far back. For sessions driven by
        /// tokens.</summary>
        public void Rewind(ulong position) =>
            Errors.Check(Native.dsv4_session_rewind(Handle, position, out IntPtr error), error);

        /// <summary>An independent session at the same place, with a copy of the state.</summary>
        public Session Fork()
        {
            Errors.Check(Native.dsv4_session_fork(Handle, out SessionHandle fork, out IntPtr error), error);
            return new Session(fork, Handle.Hooks, vocab);
        }

        /// <summary>Makes the session empty.</summary>
        public void Clear() => Errors.Check(Native.dsv4_session_clear(Handle, out IntPtr error), error);

        /// <summary>The token ids of the timeline so far.</summary>
        public int[] GetTokens() => Interop.Fetch((int[] ids, UIntPtr capacity, out UIntPtr count, out IntPtr error) =>
            Native.dsv4_session_tokens(Handle, ids, capacity, out count, out error));

        /// <summary>Describes the session.</summary>
        public SessionInfo GetInfo()
        {
            var info = new dsv4_session_info { struct_size = Interop.SizeOf<dsv4_session_info>() };
            Errors.Check(Native.dsv4_session_info_get(Handle, ref info, out IntPtr error), error);
            return new SessionInfo(info);
        }

        /// <summary>Appends ids, which may be none, and evaluates everything that is waiting: for hosts that sample
        /// themselves. In a session driven by messages, without ids, that is the prompt of the conversation as it
        /// stands. </summary>
        /// <param name="logits">null, or room for the logits of every one of the new tokens, ids.Length * vocab; row i
        /// predicts what follows ids[i]. Nothing may be waiting then.</param>
        /// <param name="draftLogits">The same of the MTP head, for sessions with Draft.</param>
        /// <param name="progress">Hears of tokens; false gives up.</param>
        /// <param name="cancellationToken">Gives up, too.</param>
        public void Eval(int[] ids = null, float[] logits = null, float[] draftLogits = null,
            Func<ulong, ulong, bool> progress = null, CancellationToken cancellationToken = default)
        {
            ids = ids ?? new int[0];
            cancellationToken.ThrowIfCancellationRequested();
            CheckRows(logits, ids.Length, nameof(logits));
            CheckRows(draftLogits, ids.Length, nameof(draftLogits));
            var callbacks = new ProgressCallbacks { Progress = progress, Token = cancellationToken };
            GCHandle rows = GCHandle.Alloc(logits, GCHandleType.Pinned);
            GCHandle draftRows = GCHandle.Alloc(draftLogits, GCHandleType.Pinned);
            try
            {
                using (var user = new UserData(callbacks))
                using (var cancellation = new Cancellation(this, cancellationToken))
                {
                    Native.dsv4_eval_options_init(out dsv4_eval_options options, Interop.SizeOf<dsv4_eval_options>());
                    options.logits = rows.AddrOfPinnedObject();
                    options.draft_logits = draftRows.AddrOfPinnedObject();
                    options.progress = Callbacks.Progress;
                    options.progress_user = user.User;
                    int status = Native.dsv4_session_eval(Handle, ids, Interop.Length(ids), ref options, out IntPtr error);
                    cancellation.Dispose();
                    Errors.Finish(callbacks, status, error, cancellationToken);
                }
            }
            finally
            {
                rows.Free();
                draftRows.Free();
            }
        }

        private void CheckRows(float[] logits, int rows, string name)
        {
            if (logits == null || logits.LongLength == rows * vocab) return;
            throw new ArgumentException($"{logits.LongLength} floats, expected {rows} tokens of {vocab}", name);
        }

        /// <summary>The logits after the newest evaluated token.</summary>
        public float[] GetLogits() => Interop.Fetch((float[] logits, UIntPtr capacity, out UIntPtr count, out IntPtr error) =>
            Native.dsv4_session_logits(Handle, logits, capacity, out count, out error));

        /// <summary>Synthetic models only: behave as if so many tokens had been evaluated, to measure speed
        /// there.</summary>
        public void Pretend(ulong position) =>
            Errors.Check(Native.dsv4_session_pretend(Handle, position, out IntPtr error), error);
    }
}
