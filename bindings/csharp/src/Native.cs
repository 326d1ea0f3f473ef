// The functions of dsv4.h, as they are: size_t is UIntPtr, const char * a byte[] of UTF-8 or an IntPtr, a callback the
// IntPtr of a static delegate (Callbacks.cs).
using System;
using System.Runtime.InteropServices;

namespace Dsv4
{
    internal static class Native
    {
#if DSV4_STATIC_LINK // hosts that link the library into their own program, such as Unity's on iOS
        private const string Library = "__Internal";
#else
        private const string Library = "dsv4";
#endif
        private const CallingConvention Cdecl = CallingConvention.Cdecl;

        // ------------------------------------------------------------------------------------- status, errors, build
        // dsv4_error_status is the status that the call itself returns.
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern IntPtr dsv4_error_message(IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_error_release(ref IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern IntPtr dsv4_status_name(int status);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern uint dsv4_version();
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_build_info_get(ref dsv4_build_info info, out IntPtr error);

        // ----------------------------------------------------------------------------------------------------- model
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_model_options_init(out dsv4_model_options options, UIntPtr size);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_model_open(byte[] folder, ref dsv4_model_options options, out ModelHandle model,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_model_open_synthetic(byte[] shape, int layers, ulong seed,
            ref dsv4_model_options options, out ModelHandle model, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern ModelHandle dsv4_model_retain(ModelHandle model);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_model_release(ref IntPtr model);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_model_estimate(byte[] folder, ref dsv4_model_options options, ulong context,
            ref dsv4_estimate estimate, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_model_info_get(ModelHandle model, ref dsv4_model_info info, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_model_layer_info(ModelHandle model, long index, ulong context,
            ref dsv4_layer_info info, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_model_verb_time(ModelHandle model, UIntPtr index, ref dsv4_verb_time time,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_model_verb_times_clear(ModelHandle model, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_model_matrix_peak(ModelHandle model, out double peak, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_model_copy_peak(ModelHandle model, out double peak, out IntPtr error);

        // ------------------------------------------------------------------------------------------------------ text
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_tokenize(ModelHandle model, byte[] text, UIntPtr length, uint flags,
            [In, Out] int[] ids, UIntPtr capacity, out UIntPtr count, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_detokenize(ModelHandle model, int[] ids, UIntPtr count, uint flags,
            [In, Out] byte[] text, UIntPtr capacity, out UIntPtr length, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_conversation_create(out ConversationHandle conversation, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_conversation_from_json(byte[] json, UIntPtr length,
            out ConversationHandle conversation, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_conversation_add(ConversationHandle conversation, int role, byte[] text,
            UIntPtr length, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_conversation_add_tool_result(ConversationHandle conversation, byte[] callId,
            byte[] text, UIntPtr length, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_conversation_append_json(ConversationHandle conversation, byte[] json,
            UIntPtr length, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_conversation_release(ref IntPtr conversation);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_conversation_count(ConversationHandle conversation, out UIntPtr count,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_conversation_message_json(ConversationHandle conversation, UIntPtr index,
            [In, Out] byte[] text, UIntPtr capacity, out UIntPtr length, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_conversation_json(ConversationHandle conversation, [In, Out] byte[] text,
            UIntPtr capacity, out UIntPtr length, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_render_options_init(out dsv4_render_options options, UIntPtr size);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_render(ModelHandle model, ConversationHandle conversation,
            ref dsv4_render_options options, [In, Out] byte[] text, UIntPtr capacity, out UIntPtr length,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_render_tokens(ModelHandle model, ConversationHandle conversation,
            ref dsv4_render_options options, [In, Out] int[] ids, UIntPtr capacity, out UIntPtr count, out IntPtr error);

        // --------------------------------------------------------------------------------------------------- session
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_session_options_init(out dsv4_session_options options, UIntPtr size);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_create(ModelHandle model, ref dsv4_session_options options,
            out SessionHandle session, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_session_release(ref IntPtr session);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_append_message(SessionHandle session, int role, byte[] text,
            UIntPtr length, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_set_conversation(SessionHandle session, ConversationHandle conversation,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_append_tool_result(SessionHandle session, byte[] callId, byte[] text,
            UIntPtr length, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_append_json(SessionHandle session, byte[] json, UIntPtr length,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_conversation(SessionHandle session, out ConversationHandle conversation,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_append_tokens(SessionHandle session, int[] ids, UIntPtr count,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_sync_tokens(SessionHandle session, int[] ids, UIntPtr count,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_rewind(SessionHandle session, ulong position, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_fork(SessionHandle session, out SessionHandle fork, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_clear(SessionHandle session, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_tokens(SessionHandle session, [In, Out] int[] ids, UIntPtr capacity,
            out UIntPtr count, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_info_get(SessionHandle session, ref dsv4_session_info info,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_eval_options_init(out dsv4_eval_options options, UIntPtr size);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_eval(SessionHandle session, int[] ids, UIntPtr count,
            ref dsv4_eval_options options, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_logits(SessionHandle session, [In, Out] float[] logits, UIntPtr capacity,
            out UIntPtr count, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_session_cancel(SessionHandle session);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_pretend(SessionHandle session, ulong position, out IntPtr error);

        // ------------------------------------------------------------------------------------------- events, generate
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern IntPtr dsv4_done_name(int reason);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_generate_options_init(out dsv4_generate_options options, UIntPtr size);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_generate(SessionHandle session, ref dsv4_generate_options options,
            IntPtr onEvent, IntPtr user, ref dsv4_generate_stats stats, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_start(SessionHandle session, ref dsv4_generate_options options,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_poll(SessionHandle session, IntPtr onEvent, IntPtr user,
            UIntPtr maxEvents, uint timeoutMs, out UIntPtr delivered, out IntPtr error);

        // -------------------------------------------------------------------------------------------------- snapshot
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_snapshot_options_init(out dsv4_snapshot_options options, UIntPtr size);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_save_path(SessionHandle session, byte[] path,
            ref dsv4_snapshot_options options, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_save(SessionHandle session, IntPtr write, IntPtr user,
            ref dsv4_snapshot_options options, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_restore_path(SessionHandle session, byte[] path, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_session_restore(SessionHandle session, IntPtr read, IntPtr user,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_snapshot_peek_path(byte[] path, ref dsv4_snapshot_info info, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_snapshot_peek(IntPtr read, IntPtr user, ref dsv4_snapshot_info info,
            out IntPtr error);

        // ---------------------------------------------------------------------------------------------------- parser
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_parser_options_init(out dsv4_parser_options options, UIntPtr size);
        // The model is a pointer here because it may be NULL, which a SafeHandle may not.
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_parser_create(IntPtr model, ref dsv4_parser_options options, IntPtr onEvent,
            IntPtr user, out ParserHandle parser, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern void dsv4_parser_release(ref IntPtr parser);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_parser_push_text(ParserHandle parser, byte[] text, UIntPtr length,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_parser_push_tokens(ParserHandle parser, int[] ids, UIntPtr count,
            out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_parser_finish(ParserHandle parser, int reason, out IntPtr error);
        [DllImport(Library, CallingConvention = Cdecl)]
        internal static extern int dsv4_parser_message_json(ParserHandle parser, [In, Out] byte[] text, UIntPtr capacity,
            out UIntPtr length, out IntPtr error);
    }
}
