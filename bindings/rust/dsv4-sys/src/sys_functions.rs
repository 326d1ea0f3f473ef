//! The functions of the header, in its order.

use crate::*;

macro_rules! functions {
    ($(fn $name:ident($($argument:ident: $kind:ty),* $(,)?) -> $result:ty;)*) => {
        extern "C" {
            $(pub fn $name($($argument: $kind),*) -> $result;)*
        }
        /// Every function of the header.
        #[doc(hidden)]
        pub const ALL_FUNCTIONS: &[Signature] =
            &[$(Signature {
                name: stringify!($name),
                arguments: &[$(stringify!($kind)),*],
                result: stringify!($result),
            }),*];
    };
}

functions! {
    fn dsv4_error_status(error: *const dsv4_error) -> dsv4_status;
    fn dsv4_error_message(error: *const dsv4_error) -> *const c_char;
    fn dsv4_error_release(error: *mut *mut dsv4_error) -> ();
    fn dsv4_status_name(status: dsv4_status) -> *const c_char;
    fn dsv4_version() -> u32;
    fn dsv4_build_info_get(info: *mut dsv4_build_info, error: *mut *mut dsv4_error) -> dsv4_status;
    fn dsv4_model_options_init(options: *mut dsv4_model_options, struct_size: usize) -> ();
    fn dsv4_model_open(
        folder: *const c_char,
        options: *const dsv4_model_options,
        model: *mut *mut dsv4_model,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_model_open_synthetic(
        shape: *const c_char,
        layers: i32,
        seed: u64,
        options: *const dsv4_model_options,
        model: *mut *mut dsv4_model,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_model_retain(model: *mut dsv4_model) -> *mut dsv4_model;
    fn dsv4_model_release(model: *mut *mut dsv4_model) -> ();
    fn dsv4_model_estimate(
        folder: *const c_char,
        options: *const dsv4_model_options,
        context: u64,
        estimate: *mut dsv4_estimate,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_model_info_get(
        model: *const dsv4_model,
        info: *mut dsv4_model_info,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_model_layer_info(
        model: *const dsv4_model,
        index: i64,
        context: u64,
        info: *mut dsv4_layer_info,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_model_verb_time(
        model: *const dsv4_model,
        index: usize,
        time: *mut dsv4_verb_time,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_model_verb_times_clear(model: *mut dsv4_model, error: *mut *mut dsv4_error) -> dsv4_status;
    fn dsv4_model_matrix_peak(
        model: *mut dsv4_model,
        multiply_adds_per_s: *mut f64,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_model_copy_peak(model: *mut dsv4_model, bytes_per_s: *mut f64, error: *mut *mut dsv4_error) -> dsv4_status;
    fn dsv4_tokenize(
        model: *const dsv4_model,
        text: *const c_char,
        length: usize,
        flags: u32,
        ids: *mut i32,
        capacity: usize,
        count: *mut usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_detokenize(
        model: *const dsv4_model,
        ids: *const i32,
        count: usize,
        flags: u32,
        text: *mut c_char,
        capacity: usize,
        length: *mut usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_conversation_create(conversation: *mut *mut dsv4_conversation, error: *mut *mut dsv4_error) -> dsv4_status;
    fn dsv4_conversation_from_json(
        json: *const c_char,
        length: usize,
        conversation: *mut *mut dsv4_conversation,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_conversation_add(
        conversation: *mut dsv4_conversation,
        role: i32,
        text: *const c_char,
        length: usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_conversation_add_tool_result(
        conversation: *mut dsv4_conversation,
        call_id: *const c_char,
        text: *const c_char,
        length: usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_conversation_append_json(
        conversation: *mut dsv4_conversation,
        json: *const c_char,
        length: usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_conversation_release(conversation: *mut *mut dsv4_conversation) -> ();
    fn dsv4_conversation_count(
        conversation: *const dsv4_conversation,
        count: *mut usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_conversation_message_json(
        conversation: *const dsv4_conversation,
        index: usize,
        text: *mut c_char,
        capacity: usize,
        length: *mut usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_conversation_json(
        conversation: *const dsv4_conversation,
        text: *mut c_char,
        capacity: usize,
        length: *mut usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_render_options_init(options: *mut dsv4_render_options, struct_size: usize) -> ();
    fn dsv4_render(
        model: *const dsv4_model,
        conversation: *const dsv4_conversation,
        options: *const dsv4_render_options,
        text: *mut c_char,
        capacity: usize,
        length: *mut usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_render_tokens(
        model: *const dsv4_model,
        conversation: *const dsv4_conversation,
        options: *const dsv4_render_options,
        ids: *mut i32,
        capacity: usize,
        count: *mut usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_options_init(options: *mut dsv4_session_options, struct_size: usize) -> ();
    fn dsv4_session_create(
        model: *mut dsv4_model,
        options: *const dsv4_session_options,
        session: *mut *mut dsv4_session,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_release(session: *mut *mut dsv4_session) -> ();
    fn dsv4_session_append_message(
        session: *mut dsv4_session,
        role: i32,
        text: *const c_char,
        length: usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_set_conversation(
        session: *mut dsv4_session,
        conversation: *const dsv4_conversation,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_append_tool_result(
        session: *mut dsv4_session,
        call_id: *const c_char,
        text: *const c_char,
        length: usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_append_json(
        session: *mut dsv4_session,
        json: *const c_char,
        length: usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_conversation(
        session: *mut dsv4_session,
        conversation: *mut *mut dsv4_conversation,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_append_tokens(
        session: *mut dsv4_session,
        ids: *const i32,
        count: usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_sync_tokens(
        session: *mut dsv4_session,
        ids: *const i32,
        count: usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_rewind(session: *mut dsv4_session, position: u64, error: *mut *mut dsv4_error) -> dsv4_status;
    fn dsv4_session_fork(
        session: *mut dsv4_session,
        fork: *mut *mut dsv4_session,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_clear(session: *mut dsv4_session, error: *mut *mut dsv4_error) -> dsv4_status;
    fn dsv4_session_tokens(
        session: *mut dsv4_session,
        ids: *mut i32,
        capacity: usize,
        count: *mut usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_info_get(
        session: *mut dsv4_session,
        info: *mut dsv4_session_info,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_eval_options_init(options: *mut dsv4_eval_options, struct_size: usize) -> ();
    fn dsv4_session_eval(
        session: *mut dsv4_session,
        ids: *const i32,
        count: usize,
        options: *const dsv4_eval_options,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_logits(
        session: *mut dsv4_session,
        logits: *mut f32,
        capacity: usize,
        count: *mut usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_cancel(session: *mut dsv4_session) -> ();
    fn dsv4_session_pretend(session: *mut dsv4_session, position: u64, error: *mut *mut dsv4_error) -> dsv4_status;
    fn dsv4_done_name(reason: i32) -> *const c_char;
    fn dsv4_generate_options_init(options: *mut dsv4_generate_options, struct_size: usize) -> ();
    fn dsv4_session_generate(
        session: *mut dsv4_session,
        options: *const dsv4_generate_options,
        on_event: Option<dsv4_event_fn>,
        user: *mut c_void,
        stats: *mut dsv4_generate_stats,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_start(
        session: *mut dsv4_session,
        options: *const dsv4_generate_options,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_poll(
        session: *mut dsv4_session,
        on_event: Option<dsv4_event_fn>,
        user: *mut c_void,
        max_events: usize,
        timeout_ms: u32,
        delivered: *mut usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_snapshot_options_init(options: *mut dsv4_snapshot_options, struct_size: usize) -> ();
    fn dsv4_session_save_path(
        session: *mut dsv4_session,
        path: *const c_char,
        options: *const dsv4_snapshot_options,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_save(
        session: *mut dsv4_session,
        write: Option<dsv4_write_fn>,
        user: *mut c_void,
        options: *const dsv4_snapshot_options,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_restore_path(
        session: *mut dsv4_session,
        path: *const c_char,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_session_restore(
        session: *mut dsv4_session,
        read: Option<dsv4_read_fn>,
        user: *mut c_void,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_snapshot_peek_path(
        path: *const c_char,
        info: *mut dsv4_snapshot_info,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_snapshot_peek(
        read: Option<dsv4_read_fn>,
        user: *mut c_void,
        info: *mut dsv4_snapshot_info,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_parser_options_init(options: *mut dsv4_parser_options, struct_size: usize) -> ();
    fn dsv4_parser_create(
        model: *mut dsv4_model,
        options: *const dsv4_parser_options,
        on_event: Option<dsv4_event_fn>,
        user: *mut c_void,
        parser: *mut *mut dsv4_parser,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_parser_release(parser: *mut *mut dsv4_parser) -> ();
    fn dsv4_parser_push_text(
        parser: *mut dsv4_parser,
        text: *const c_char,
        length: usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_parser_push_tokens(
        parser: *mut dsv4_parser,
        ids: *const i32,
        count: usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
    fn dsv4_parser_finish(parser: *mut dsv4_parser, reason: i32, error: *mut *mut dsv4_error) -> dsv4_status;
    fn dsv4_parser_message_json(
        parser: *const dsv4_parser,
        text: *mut c_char,
        capacity: usize,
        length: *mut usize,
        error: *mut *mut dsv4_error,
    ) -> dsv4_status;
}
