using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;

namespace Dsv4
{
    /// <summary>Where the output begins that a parser reads.</summary>
    public enum OutputStart
    {
        /// <summary>With the answer.</summary>
        Content = 0,
        /// <summary>The prompt ends with &lt;think&gt;.</summary>
        Reasoning = 1,
        /// <summary>The prompt ends inside a block of calls, as a required call's does.</summary>
        ToolCalls = 2
    }

    /// <summary>The reader of model output that Generate uses, for hosts that draw tokens themselves: it turns output,
    /// in pieces of any size, into events. For one thread at a time. Dispose of it: the callback is kept until
    /// then.</summary>
    public sealed class Parser : IDisposable
    {
        private readonly ParserHandle handle;
        private readonly TurnCallbacks callbacks;

        /// <param name="onEvent">Runs inside the parser's methods; its exceptions go on from there.</param>
        /// <param name="model">Push of tokens needs it; may be null for a parser of text.</param>
        /// <param name="start">Where the output begins.</param>
        /// <param name="stop">Stop strings.</param>
        public Parser(Action<Event> onEvent, Model model = null, OutputStart start = OutputStart.Content,
            ICollection<string> stop = null)
        {
            callbacks = new TurnCallbacks
            {
                OnEvent = e =>
                {
                    onEvent?.Invoke(e);
                    return EventAction.Continue;
                }
            };
            GCHandle user = GCHandle.Alloc(callbacks);
            bool added = false;
            try
            {
                using (var memory = new NativeMemory())
                {
                    model?.Handle.DangerousAddRef(ref added);
                    Native.dsv4_parser_options_init(out dsv4_parser_options options,
                        Interop.SizeOf<dsv4_parser_options>());
                    options.start = (int)start;
                    options.stop = memory.Texts(stop, nameof(stop), out options.stop_count);
                    Errors.Check(Native.dsv4_parser_create(model?.Handle.DangerousGetHandle() ?? IntPtr.Zero, ref options,
                        Callbacks.Event, GCHandle.ToIntPtr(user), out handle, out IntPtr error), error);
                    handle.User = user;
                    handle.Hooks = model?.Handle.Hooks.Retain();
                }
            }
            catch
            {
                user.Free();
                throw;
            }
            finally
            {
                if (added) model.Handle.DangerousRelease();
            }
        }

        /// <summary>Releases the parser.</summary>
        public void Dispose() => handle.Dispose();

        /// <summary>More output as text, in which &lt;/think&gt;, the end of the turn and ｜DSML｜ are the control tokens
        /// that they spell. After the end of the turn nothing more happens.</summary>
        public void Push(string text)
        {
            byte[] bytes = Utf8.Encode(text);
            Finish(Native.dsv4_parser_push_text(handle, bytes, Interop.Length(bytes), out IntPtr error), error);
        }

        /// <summary>More output as token ids.</summary>
        public void Push(params int[] ids) =>
            Finish(Native.dsv4_parser_push_tokens(handle, ids, Interop.Length(ids), out IntPtr error), error);

        /// <summary>The output ends: Stop as if the model had ended its turn (the event Done then says what it amounts
        /// to), Length, Host or Cancelled.</summary>
        public void Finish(DoneReason reason = DoneReason.Stop) =>
            Finish(Native.dsv4_parser_finish(handle, (int)reason, out IntPtr error), error);

        /// <summary>The assistant message so far, as OpenAI-shaped JSON.</summary>
        public string GetMessageJson() => Interop.FetchText(
            (byte[] text, UIntPtr capacity, out UIntPtr count, out IntPtr error) =>
                Native.dsv4_parser_message_json(handle, text, capacity, out count, out error));

        private void Finish(int status, IntPtr error) => Errors.Finish(callbacks, status, error);
    }
}
