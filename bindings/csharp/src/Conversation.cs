using System;

namespace Dsv4
{
    /// <summary>Who says a message.</summary>
    public enum Role
    {
        /// <summary>What the model is told about its task.</summary>
        System = 1,
        /// <summary>The user.</summary>
        User = 2,
        /// <summary>The model.</summary>
        Assistant = 3,
        /// <summary>What a tool answered.</summary>
        Tool = 4,
        /// <summary>The developer.</summary>
        Developer = 5,
        /// <summary>A reminder that only counts as the newest.</summary>
        LatestReminder = 6
    }

    /// <summary>A list of messages and what belongs to the whole request: tools, tool choice, response format,
    /// reasoning. Not tied to a model; for one thread at a time.</summary>
    public sealed class Conversation : IDisposable
    {
        internal ConversationHandle Handle { get; }

        internal Conversation(ConversationHandle handle)
        {
            Handle = handle;
        }

        /// <summary>An empty one.</summary>
        public Conversation()
        {
            Errors.Check(Native.dsv4_conversation_create(out ConversationHandle handle, out IntPtr error), error);
            Handle = handle;
        }

        /// <summary>Reads OpenAI-shaped JSON: a list of messages, or an object with messages and, optionally, tools,
        /// tool_choice, response_format, thinking and reasoning_effort. Unknown fields are ignored; a wrong type is
        /// <see cref="Status.InvalidArgument"/> with the JSON path.</summary>
        public static Conversation FromJson(string json)
        {
            byte[] bytes = Utf8.Encode(json);
            Errors.Check(Native.dsv4_conversation_from_json(bytes, Interop.Length(bytes), out ConversationHandle handle,
                out IntPtr error), error);
            return new Conversation(handle);
        }

        /// <summary>Releases the conversation.</summary>
        public void Dispose() => Handle.Dispose();

        /// <summary>Appends a message.</summary>
        public void Add(Role role, string text)
        {
            byte[] bytes = Utf8.Encode(text);
            Errors.Check(Native.dsv4_conversation_add(Handle, (int)role, bytes, Interop.Length(bytes), out IntPtr error),
                error);
        }

        /// <summary>Appends what a tool answered to the call with this id.</summary>
        public void AddToolResult(string callId, string text)
        {
            byte[] bytes = Utf8.Encode(text);
            Errors.Check(Native.dsv4_conversation_add_tool_result(Handle, Utf8.EncodeTerminated(callId, nameof(callId)),
                bytes, Interop.Length(bytes), out IntPtr error), error);
        }

        /// <summary>Appends one message (a JSON object) or several (a list).</summary>
        public void AppendJson(string json)
        {
            byte[] bytes = Utf8.Encode(json);
            Errors.Check(Native.dsv4_conversation_append_json(Handle, bytes, Interop.Length(bytes), out IntPtr error),
                error);
        }

        /// <summary>How many messages there are.</summary>
        public int Count
        {
            get
            {
                Errors.Check(Native.dsv4_conversation_count(Handle, out UIntPtr count, out IntPtr error), error);
                return checked((int)count.ToUInt64());
            }
        }

        /// <summary>A message as OpenAI-shaped JSON.</summary>
        public string GetMessageJson(int index)
        {
            if (index < 0) throw new ArgumentOutOfRangeException(nameof(index));
            return Interop.FetchText((byte[] text, UIntPtr capacity, out UIntPtr count, out IntPtr error) =>
                Native.dsv4_conversation_message_json(Handle, (UIntPtr)(uint)index, text, capacity, out count, out error));
        }

        /// <summary>The whole request: {"messages": [...], "tools": [...] ...}.</summary>
        public string ToJson() => Interop.FetchText((byte[] text, UIntPtr capacity, out UIntPtr count, out IntPtr error) =>
            Native.dsv4_conversation_json(Handle, text, capacity, out count, out error));
    }
}
